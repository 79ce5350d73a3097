package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/tidwall/btree"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Leases without a clock in the state machine.
//
// The leader has a clock, which only counts while somebody leads: the lease clock. It puts a reading of it into the log
// every now and then (a tick), so that each replica knows it to within a tick, and the next leader goes on from there.
// A lease ends at a reading of that clock. A grant or a renewal comes from any member, which does not know the reading; so
// the lease counts from the first tick that was made after the leader had applied the renewal: it is never cut short.
//
// Nothing ends by itself. The leader proposes the end of a lease (an expiry), naming the term in which it leads and the
// renewal that it knows of. The expiry is void if it was appended in another term, or if another renewal came before it.
// docs/decisions/0018 has the reasons.

// MaxLeaseTTL is the longest time to live of a lease, in seconds. It is etcd's, and fits into a time.Duration.
const MaxLeaseTTL = 9_000_000_000

// lease is what is known of one lease.
type lease struct {
	ttl     int64       // in seconds
	renewed balsa.Index // of the command that granted it, or renewed it last
	// deadline is on the lease clock, in milliseconds; uncounted until the first tick that knows of the renewal.
	deadline uint64
}

const uncounted = 0

func (l *lease) duration() time.Duration { return time.Duration(l.ttl) * time.Second }

// leases is all leases by id. A Copy of it can be read while the original changes.
type leases = btree.Map[int64, lease]

// leaseSums is what the store keeps of its leases besides them.
type leaseSums struct {
	clock  uint64 // the last tick's reading of the lease clock, in milliseconds
	digest Digest // of the leases and the clock
}

// leaseChanges is what a batch has done to leases, beyond the engine.
type leaseChanges struct {
	leases  *leases
	shown   *leases // a copy, for readers, of what the last batch that changed leases has left
	pending []int64 // those that the next tick gives their deadlines; some may be gone, or be there twice
	touched []int64 // by the batch, in the order in which it did
	ticked  bool
	// attached says which keys the batch has attached to leases (true) and detached from them (false).
	attached map[int64]map[string]bool
}

const leaseFormat = 1

// appendLease appends a lease's record: format u8, ttl uvarint, renewed uvarint, deadline uvarint.
func appendLease(dst []byte, l *lease) []byte {
	dst = append(dst, leaseFormat)
	dst = binary.AppendUvarint(dst, uint64(l.ttl))
	dst = binary.AppendUvarint(dst, uint64(l.renewed))
	return binary.AppendUvarint(dst, l.deadline)
}

func decodeLease(value []byte) (lease, error) {
	r := fields{rest: value}
	format := r.byte()
	l := lease{ttl: int64(r.uvarint()), renewed: balsa.Index(r.uvarint()), deadline: r.uvarint()}
	if r.failed || format != leaseFormat || len(r.rest) > 0 {
		return lease{}, fmt.Errorf("%w: lease record %x", errCorrupt, value)
	}
	return l, nil
}

// appendLeaseSums appends the record of the sums: format u8, clock uvarint, digest 2 × u64.
func appendLeaseSums(dst []byte, s *leaseSums) []byte {
	dst = append(dst, leaseFormat)
	dst = binary.AppendUvarint(dst, s.clock)
	dst = binary.LittleEndian.AppendUint64(dst, s.digest.A)
	return binary.LittleEndian.AppendUint64(dst, s.digest.B)
}

func decodeLeaseSums(value []byte) (leaseSums, error) {
	r := fields{rest: value}
	format := r.byte()
	s := leaseSums{clock: r.uvarint(), digest: Digest{r.uint64(), r.uint64()}}
	if r.failed || format != leaseFormat || len(r.rest) > 0 {
		return leaseSums{}, fmt.Errorf("%w: record of the lease clock %x", errCorrupt, value)
	}
	return s, nil
}

func (h *hasher) lease(id int64, l *lease) Digest {
	h.start(recordLease)
	h.number(uint64(id))
	h.number(uint64(l.ttl))
	h.number(uint64(l.renewed))
	h.number(l.deadline)
	return h.sum()
}

// leaseClock hashes the clock; one that never ticked adds nothing.
func (h *hasher) leaseClock(clock uint64) Digest {
	if clock == 0 {
		return Digest{}
	}
	h.start(recordLeaseClock)
	h.number(clock)
	return h.sum()
}

func (h *hasher) attachment(lease int64, key []byte) Digest {
	h.start(recordAttachment)
	h.number(uint64(lease))
	h.bytes(key)
	return h.sum()
}

// setLease adds or changes a lease.
func (e *execution) setLease(id int64, l lease) {
	if former, existed := e.leases.Set(id, l); existed {
		e.sums.digest.remove(e.hasher.lease(id, &former))
	}
	e.sums.digest.add(e.hasher.lease(id, &l))
	e.touched = append(e.touched, id)
	if l.deadline == uncounted {
		e.pending = append(e.pending, id)
	}
}

func (e *execution) removeLease(id int64) {
	if former, existed := e.leases.Delete(id); existed {
		e.sums.digest.remove(e.hasher.lease(id, &former))
		e.touched = append(e.touched, id)
	}
}

// grant executes a KindLeaseGrant command. Whoever encoded it has chosen the id, and raised the time to live to the least there is.
func (e *execution) grant(request []byte) ([]byte, error) {
	var r pb.LeaseGrantRequest
	if err := unmarshal(request, &r); err != nil {
		return nil, err
	}
	if err := e.grow(); err != nil {
		return nil, err
	}
	switch _, exists := e.leases.Get(r.ID); {
	case r.ID == 0, r.TTL <= 0:
		return nil, ErrMalformed
	case r.TTL > MaxLeaseTTL:
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	case exists:
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	e.setLease(r.ID, lease{ttl: r.TTL, renewed: e.at.Index})
	return messageResult(&pb.LeaseGrantResponse{Header: &pb.ResponseHeader{Revision: e.revision}, ID: r.ID, TTL: r.TTL})
}

// renew executes a KindLeaseRenew command: the answer has a time to live for each lease that was asked for, 0 where there is none.
func (e *execution) renew(request []byte) ([]byte, error) {
	ids, err := cutNumbers(request, -1)
	if err != nil {
		return nil, err
	}
	result := appendHeaderResult(nil, e.revision)
	for _, n := range ids {
		id := int64(n)
		l, exists := e.leases.Get(id)
		if exists {
			e.setLease(id, lease{ttl: l.ttl, renewed: e.at.Index})
		}
		result = appendRenewal(result, l.ttl)
	}
	return result, nil
}

func (e *execution) revokeRequest(request []byte) error {
	var r pb.LeaseRevokeRequest
	if err := unmarshal(request, &r); err != nil {
		return err
	}
	return e.revoke(r.ID)
}

// expire executes a KindLeaseExpire command.
func (e *execution) expire(request []byte) error {
	n, err := cutNumbers(request, 3)
	if err != nil {
		return err
	}
	id := int64(n[1])
	l, exists := e.leases.Get(id)
	switch {
	case balsa.Term(n[0]) != e.at.Term:
		return ErrStale
	case !exists:
		return rpctypes.ErrGRPCLeaseNotFound
	case l.renewed != balsa.Index(n[2]):
		return ErrStale
	}
	return e.revoke(id)
}

// tick executes a KindLeaseTick command. The clock never goes back.
func (e *execution) tick(request []byte) error {
	n, err := cutNumbers(request, 3)
	if err != nil {
		return err
	}
	clock, known := n[1], balsa.Index(n[2])
	if balsa.Term(n[0]) != e.at.Term || clock < e.sums.clock {
		return ErrStale
	}
	e.sums.digest.remove(e.hasher.leaseClock(e.sums.clock))
	e.sums.digest.add(e.hasher.leaseClock(clock))
	e.sums.clock = clock
	e.ticked = true
	waiting := e.pending[:0]
	for _, id := range e.pending {
		l, exists := e.leases.Get(id)
		switch {
		case !exists || l.deadline != uncounted:
		case l.renewed > known: // renewed while the tick was on its way, which the clock does not know of
			waiting = append(waiting, id)
		default:
			l.deadline = clock + uint64(l.duration().Milliseconds())
			e.setLease(id, l)
		}
	}
	e.pending = waiting
	return nil
}

// revoke removes a lease and deletes its keys, in their order and at one revision.
func (e *execution) revoke(id int64) error {
	if _, exists := e.leases.Get(id); !exists {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	keys, err := e.attachedTo(id)
	if err != nil {
		return err
	}
	for _, key := range keys {
		live, ok, err := e.newest([]byte(key))
		if err != nil {
			return err
		}
		if !ok || live.tombstone || live.lease != id {
			return fmt.Errorf("%w: key %q is listed with lease %x and not attached to it", errCorrupt, key, uint64(id))
		}
		e.delete([]byte(key), &live)
	}
	e.removeLease(id)
	return nil
}

// attachedTo returns the keys that are attached to a lease, in order.
func (e *execution) attachedTo(id int64) ([]string, error) {
	keys, err := attachedKeys(e.reader, e.layout, id)
	if err != nil {
		return nil, err
	}
	changed := e.attached[id]
	keys = slices.DeleteFunc(keys, func(key string) bool {
		_, known := changed[key]
		return known
	})
	//balsa:unordered they are sorted below
	for key, attached := range changed {
		if attached {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// attach notes that a change has moved its key from one lease to another; 0 is none.
func (e *execution) attach(c *change) {
	if c.former != 0 {
		e.setAttached(c.former, c.key, false)
		e.keyBytes = e.appendAttachment(e.keyBytes[:0], c.former, c.key)
		e.batch.Delete(e.keyBytes)
	}
	if c.lease != 0 {
		e.setAttached(c.lease, c.key, true)
		e.keyBytes = e.appendAttachment(e.keyBytes[:0], c.lease, c.key)
		e.batch.Set(e.keyBytes, nil)
	}
}

func (e *execution) setAttached(id int64, key []byte, attached bool) {
	if e.attached == nil {
		e.attached = map[int64]map[string]bool{}
	}
	if e.attached[id] == nil {
		e.attached[id] = map[string]bool{}
	}
	e.attached[id][string(key)] = attached
}

// commitLeases writes what the batch has made of the leases.
func (e *execution) commitLeases() {
	if len(e.touched) == 0 && !e.ticked {
		return
	}
	slices.Sort(e.touched)
	e.touched = slices.Compact(e.touched)
	for _, id := range e.touched {
		e.keyBytes = e.appendLeaseKey(e.keyBytes[:0], id)
		l, exists := e.leases.Get(id)
		if !exists {
			e.batch.Delete(e.keyBytes)
			continue
		}
		e.valueBytes = appendLease(e.valueBytes[:0], &l)
		e.batch.Set(e.keyBytes, e.valueBytes)
	}
	e.valueBytes = appendLeaseSums(e.valueBytes[:0], &e.sums)
	e.batch.Set(e.single(spaceLease), e.valueBytes)
}

// finishLeases forgets what belongs to one batch.
func (c *leaseChanges) finishLeases() {
	c.touched, c.ticked, c.attached = c.touched[:0], false, nil
}

// attachedKeys returns the keys that the engine lists with a lease, in order.
func attachedKeys(reader engine.Reader, l layout, id int64) (keys []string, err error) {
	prefix := l.appendAttachment(nil, id, nil)
	i, err := reader.NewIterator(prefix, l.attachmentsEnd(id))
	if err != nil {
		return nil, err
	}
	defer i.Close()
	for ok := i.First(); ok; ok = i.Next() {
		keys = append(keys, string(i.Key()[len(prefix):]))
	}
	return keys, i.Error()
}

// loadLeases reads the leases' records.
func loadLeases(reader engine.Reader, l layout) (*leases, leaseSums, error) {
	i, err := reader.NewIterator(l.single(spaceLease), l.single(spaceLease+1))
	if err != nil {
		return nil, leaseSums{}, err
	}
	defer i.Close()
	all, sums := new(leases), leaseSums{}
	for ok := i.First(); ok; ok = i.Next() {
		if len(i.Key()) == engine.HeaderSize {
			if sums, err = decodeLeaseSums(i.Value()); err != nil {
				return nil, sums, err
			}
			continue
		}
		id, err := cutLeaseKey(i.Key())
		if err != nil {
			return nil, sums, err
		}
		one, err := decodeLease(i.Value())
		if err != nil {
			return nil, sums, err
		}
		all.Set(id, one)
	}
	return all, sums, i.Error()
}

// uncountedOf returns the leases that wait for a tick.
func uncountedOf(all *leases) (ids []int64) {
	all.Scan(func(id int64, l lease) bool {
		if l.deadline == uncounted {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}
