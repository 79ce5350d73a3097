package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Alarms, and the quota.
//
// What an alarm forbids is decided in the apply, from the alarms that stand there: on every replica alike. NOSPACE refuses what
// grows (puts, transactions with puts, grants), CORRUPT what changes anything; reads, and under NOSPACE deletions and compactions, go on.
//
// The quota is a limit of logical bytes that the leader has put into the log, so that a write that would exceed it is refused, and the alarm
// raised, by the very command, everywhere. The compaction that brings the size to nine tenths of it takes the alarm back; so
// does whoever raised an alarm for another reason once that is gone. What an operator raised stands until an operator disarms it.
// docs/decisions/0022 has the reasons.

// AlarmDiskFull says that a member's disk is full. It is Balsa's own, not listed to clients, and forbids nothing: while it stands for so many
// members that the others are no majority, the leader raises NOSPACE for them.
const AlarmDiskFull pb.AlarmType = 64

// AlarmOrigin says who raised an alarm, and so who may take it back besides an operator.
type AlarmOrigin uint8

const (
	AlarmByOperator AlarmOrigin = 1
	AlarmByQuota    AlarmOrigin = 2
	AlarmByDisk     AlarmOrigin = 3
	AlarmByScrub    AlarmOrigin = 4
)

func (o AlarmOrigin) known() bool { return AlarmByOperator <= o && o <= AlarmByScrub }

// Alarm is one that stands. There is one of each type and member.
type Alarm struct {
	Member raft.MemberID
	Type   pb.AlarmType
	Origin AlarmOrigin
}

// Quota is the limit of logical bytes; none where Bytes is 0. Member is the leader that put it into the log: the alarm is in its name.
type Quota struct {
	Bytes  int64
	Member raft.MemberID
}

// maxAlarms bounds the alarms that stand: operators can raise one for any number they like.
const maxAlarms = 1024

// alarms is the alarms that stand, by type and member. It is never changed, only replaced.
type alarms []Alarm

func (a alarms) find(member raft.MemberID, kind pb.AlarmType) (int, bool) {
	return slices.BinarySearchFunc(a, Alarm{Member: member, Type: kind}, func(x, y Alarm) int {
		return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Member, y.Member))
	})
}

func (a alarms) stands(kind pb.AlarmType) bool {
	return slices.ContainsFunc(a, func(one Alarm) bool { return one.Type == kind })
}

// errOverQuota takes a command back that would exceed the quota, has the alarm raised, and is answered as the alarm would.
var errOverQuota = errors.New("store: over the quota")

// forbidden says why a command is refused without a look at it.
func (e *execution) forbidden(kind Kind) error {
	if len(e.alarms) > 0 && e.alarms.stands(pb.AlarmType_CORRUPT) && kind.changes() {
		return rpctypes.ErrGRPCCorrupt
	}
	return nil
}

// changes reports whether clients see that a command of this kind was applied. The lease clock goes on under all alarms.
func (k Kind) changes() bool {
	switch k {
	case KindPut, KindDeleteRange, KindTxn, KindCompaction, KindLeaseGrant, KindLeaseRevoke, KindLeaseExpire:
		return true
	}
	return false
}

// grow says whether a command that makes the state grow may be executed. That it does not exceed the quota is seen afterwards, in
// checkQuota.
func (e *execution) grow() error {
	e.grows = true
	if len(e.alarms) > 0 && e.alarms.stands(pb.AlarmType_NOSPACE) {
		return rpctypes.ErrGRPCNoSpace
	}
	return e.checkQuota()
}

// checkQuota is asked before a command and after it.
func (e *execution) checkQuota() error {
	if e.quota.Bytes > 0 && e.grows && e.retained().size > uint64(e.quota.Bytes) {
		return errOverQuota
	}
	return nil
}

// relax takes the quota's alarms back once there is room again.
func (e *execution) relax() {
	if limit := uint64(e.quota.Bytes); limit > 0 && e.retained().size > limit-limit/10 {
		return
	}
	for _, a := range e.alarms {
		if a.Origin == AlarmByQuota {
			e.lowerAlarm(a)
		}
	}
}

func (e *execution) raiseAlarm(a Alarm) {
	at, exists := e.alarms.find(a.Member, a.Type)
	next := slices.Clone(e.alarms)
	if exists {
		e.published.remove(e.hasher.alarm(&next[at]))
		next[at] = a
	} else {
		next = slices.Insert(next, at, a)
	}
	e.published.add(e.hasher.alarm(&a))
	e.batch.Set(e.alarmKey(&a), []byte{alarmFormat, byte(a.Origin)})
	e.alarms = next
}

func (e *execution) lowerAlarm(a Alarm) {
	at, _ := e.alarms.find(a.Member, a.Type)
	e.published.remove(e.hasher.alarm(&a))
	e.batch.Delete(e.alarmKey(&a))
	e.alarms = slices.Delete(slices.Clone(e.alarms), at, at+1)
}

// applyAlarm executes a KindAlarm command, as etcd does: raising what stands, and disarming what does not, is no error.
func (e *execution) applyAlarm(request []byte) ([]byte, error) {
	action, a, term, err := decodeAlarmCommand(request)
	if err != nil {
		return nil, err
	}
	if term != 0 && term != e.at.Term {
		return nil, ErrStale
	}
	response := &pb.AlarmResponse{Header: &pb.ResponseHeader{Revision: e.revision}}
	if a.Type == pb.AlarmType_NONE {
		return messageResult(response)
	}
	at, stands := e.alarms.find(a.Member, a.Type)
	switch {
	case action == pb.AlarmRequest_ACTIVATE && !stands && len(e.alarms) >= maxAlarms:
		return nil, rpctypes.ErrGRPCRequestTooManyRequests
	case action == pb.AlarmRequest_ACTIVATE:
		if !stands || a.Origin == AlarmByOperator && e.alarms[at].Origin != a.Origin {
			e.raiseAlarm(a)
		}
	case !stands, a.Origin != AlarmByOperator && e.alarms[at].Origin != a.Origin:
		return messageResult(response)
	default:
		e.lowerAlarm(e.alarms[at])
	}
	response.Alarms = []*pb.AlarmMember{{MemberID: uint64(a.Member), Alarm: a.Type}}
	return messageResult(response)
}

// applyQuota executes a KindQuota command.
func (e *execution) applyQuota(request []byte) error {
	n, err := cutNumbers(request, 3)
	if err != nil {
		return err
	}
	switch {
	case balsa.Term(n[0]) != e.at.Term:
		return ErrStale
	case n[1] > math.MaxInt64:
		return ErrMalformed
	}
	e.published.remove(e.hasher.quota(e.quota))
	e.quota = Quota{Bytes: int64(n[1]), Member: raft.MemberID(n[2])}
	e.published.add(e.hasher.quota(e.quota))
	e.batch.Set(e.single(spaceAlarm), appendQuota(nil, e.quota))
	e.relax()
	return nil
}

// EncodeAlarm returns the sealed entry that raises an alarm, or takes it back. An operator's action has effect on every alarm, others' on
// what has the same origin. Where a term is given the command has no effect, and is answered with ErrStale, in any other.
func EncodeAlarm(action pb.AlarmRequest_AlarmAction, a Alarm, term balsa.Term) raft.Entry {
	return encodeNumbers(KindAlarm, uint64(action), uint64(a.Member), uint64(a.Type), uint64(a.Origin), uint64(term))
}

func decodeAlarmCommand(request []byte) (action pb.AlarmRequest_AlarmAction, a Alarm, term balsa.Term, err error) {
	n, err := cutNumbers(request, 5)
	if err != nil {
		return 0, a, 0, err
	}
	action = pb.AlarmRequest_AlarmAction(n[0])
	a = Alarm{raft.MemberID(n[1]), pb.AlarmType(n[2]), AlarmOrigin(n[3])}
	if action != pb.AlarmRequest_ACTIVATE && action != pb.AlarmRequest_DEACTIVATE || n[2] > math.MaxUint8 || n[3] > math.MaxUint8 || !a.Origin.known() {
		return 0, a, 0, fmt.Errorf("%w: alarm %v", errMalformed, n)
	}
	return action, a, balsa.Term(n[4]), nil
}

// EncodeQuota returns the sealed entry that makes the leader of a term's limit, in logical bytes, the replicas'; 0 is none. It has no effect,
// and is answered with ErrStale, where it is appended in another term.
func EncodeQuota(term balsa.Term, q Quota) raft.Entry {
	return encodeNumbers(KindQuota, uint64(term), uint64(q.Bytes), uint64(q.Member))
}

// DecodeAlarm decodes the result of a KindAlarm command.
func DecodeAlarm(result []byte) (*pb.AlarmResponse, error) {
	return decodeResult(result, &pb.AlarmResponse{})
}

// Alarms returns the alarms that stand, by type and member. Do not change it.
func (s *Store) Alarms() []Alarm { return s.state.Load().alarms }

// Quota returns the limit that the replicas hold.
func (s *Store) Quota() Quota { return s.state.Load().quota }

const alarmFormat = 1

// alarmKey is the key of an alarm's record: format u8, origin u8. The record of the quota has the space alone.
func (l layout) alarmKey(a *Alarm) []byte {
	return binary.BigEndian.AppendUint64(append(l.single(spaceAlarm), byte(a.Type)), uint64(a.Member))
}

func cutAlarm(key, value []byte) (a Alarm, err error) {
	name := key[engine.HeaderSize:]
	if len(name) != 9 || len(value) != 2 || value[0] != alarmFormat || !AlarmOrigin(value[1]).known() {
		return a, fmt.Errorf("%w: alarm %q: %x", errCorrupt, key, value)
	}
	return Alarm{raft.MemberID(binary.BigEndian.Uint64(name[1:])), pb.AlarmType(name[0]), AlarmOrigin(value[1])}, nil
}

// appendQuota appends the record of the quota: format u8, bytes uvarint, member u64.
func appendQuota(dst []byte, q Quota) []byte {
	dst = binary.AppendUvarint(append(dst, alarmFormat), uint64(q.Bytes))
	return binary.LittleEndian.AppendUint64(dst, uint64(q.Member))
}

func decodeQuota(value []byte) (Quota, error) {
	r := fields{rest: value}
	format := r.byte()
	q := Quota{int64(r.uvarint()), raft.MemberID(r.uint64())}
	if r.failed || format != alarmFormat || len(r.rest) > 0 || q.Bytes < 0 {
		return Quota{}, fmt.Errorf("%w: record of the quota %x", errCorrupt, value)
	}
	return q, nil
}

func (h *hasher) alarm(a *Alarm) Digest {
	h.start(recordAlarm)
	h.number(uint64(a.Member))
	h.number(uint64(a.Type))
	h.number(uint64(a.Origin))
	return h.sum()
}

// quota hashes the quota; one that was never set adds nothing.
func (h *hasher) quota(q Quota) Digest {
	if q == (Quota{}) {
		return Digest{}
	}
	h.start(recordQuota)
	h.number(uint64(q.Bytes))
	h.number(uint64(q.Member))
	return h.sum()
}

// alarmRecord decodes a record of the space, and adds it to what is known. The digest is its own.
func (h *hasher) alarmRecord(key, value []byte, all alarms, q Quota) (alarms, Quota, Digest, error) {
	if len(key) == engine.HeaderSize {
		q, err := decodeQuota(value)
		return all, q, h.quota(q), err
	}
	a, err := cutAlarm(key, value)
	return append(all, a), q, h.alarm(&a), err
}

// loadAlarms reads the alarms' records.
func loadAlarms(reader engine.Reader, l layout) (all alarms, q Quota, err error) {
	i, err := reader.NewIterator(l.single(spaceAlarm), l.single(spaceAlarm+1))
	if err != nil {
		return nil, q, err
	}
	defer i.Close()
	var h hasher
	for ok := i.First(); ok; ok = i.Next() {
		if all, q, _, err = h.alarmRecord(i.Key(), i.Value(), all, q); err != nil {
			return nil, q, err
		}
	}
	return all, q, i.Error()
}
