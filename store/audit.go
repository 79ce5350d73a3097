package store

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
)

// audit adds up the records of a snapshot as they pass, and compares the sums with each other: the versions in the index
// with those in the revision log, values and all; those that the last compaction retains with the counters; the members
// and the leases likewise; the keys that are listed with leases with those whose newest version says so; and everything with the digest that the sender had, and with the position. It costs no read.
type audit struct {
	counters counters
	hasher   hasher

	logged, indexed, retained tally
	published                 Digest // members, alarms and the quota
	leased                    Digest // the leases
	clocked                   leaseSums
	listed, attached          Digest // attachments as they are listed, and as the keys have them

	census     counting
	name       []byte // the key whose versions are passing
	older      bool   // one of them is at or below the compact revision
	nameBuffer []byte
}

func newAudit() audit {
	return audit{counters: newCounters(), census: counting{bucketKeys: defaultBucketKeys}}
}

// record takes a record, in the order of the keys: the counters come before the versions.
func (a *audit) record(key, value []byte) error {
	switch space := key[engine.HeaderSize-1]; space {
	case spaceMember:
		m, err := decodeMember(value)
		if err != nil {
			return fmt.Errorf("%w: member record: %w", errStream, err)
		}
		a.published.add(a.hasher.member(&m))
	case spaceAlarm:
		_, _, one, err := a.hasher.alarmRecord(key, value, nil, Quota{})
		if err != nil {
			return fmt.Errorf("%w: %w", errStream, err)
		}
		a.published.add(one)
	case spaceLease:
		return a.leaseRecord(key, value)
	case spaceAttach:
		lease, name, err := cutAttachment(key)
		if err != nil {
			return err
		}
		a.listed.add(a.hasher.attachment(lease, name))
	case spaceMeta:
		var err error
		a.counters, err = decodeCounters(value)
		return err
	case spaceLog:
		return a.logRecord(key, value)
	case spaceIndex:
		return a.indexRecord(key, value)
	case spaceCollect, spaceRuntime, spaceCensus:
	default:
		return fmt.Errorf("the snapshot has records of kind %q, which this build does not know: "+
			"use the version of balsa that wrote it", space)
	}
	return nil
}

func (a *audit) leaseRecord(key, value []byte) (err error) {
	if len(key) == engine.HeaderSize {
		if a.clocked, err = decodeLeaseSums(value); err == nil {
			a.leased.add(a.hasher.leaseClock(a.clocked.clock))
		}
		return err
	}
	id, err := cutLeaseKey(key)
	if err != nil {
		return err
	}
	l, err := decodeLease(value)
	a.leased.add(a.hasher.lease(id, &l))
	return err
}

func (a *audit) logRecord(key, value []byte) error {
	at, err := cutLogKey(key)
	if err != nil {
		return err
	}
	r, err := decodeLogValue(at, value)
	if err != nil {
		return err
	}
	v := version{at: at, tombstone: r.tombstone, created: r.created, count: r.count, lease: r.lease}
	if !r.tombstone {
		v.valueHash, v.valueSize = hashValue(r.value), int64(len(r.value))
	}
	a.logged.add(tally{v.size(r.key), a.hasher.version(r.key, &v)})
	return nil
}

func (a *audit) indexRecord(key, value []byte) error {
	name, at, err := cutIndexKey(a.nameBuffer[:0], key)
	if err != nil {
		return err
	}
	v := version{at: at}
	if err := decodeIndexValue(&v, value); err != nil {
		return err
	}
	if a.name == nil || string(name) != string(a.name) {
		a.name, a.older = append(a.name[:0], name...), false
		if !v.tombstone {
			a.census.add(name)
		}
		if v.lease != 0 {
			a.attached.add(a.hasher.attachment(v.lease, name))
		}
	}
	one := tally{v.size(name), a.hasher.version(name, &v)}
	a.indexed.add(one)
	if v.retained(a.counters.compacted, a.older) {
		a.retained.add(one)
	}
	a.older = a.older || at.main <= a.counters.compacted
	return nil
}

// check says what does not add up.
func (a *audit) check(at balsa.Position, digest Digest) error {
	c := &a.counters
	c.sums = a.clocked
	switch {
	case c.applied != at:
		return fmt.Errorf("%w: its state is of index %d, term %d", errStream, c.applied.Index, c.applied.Term)
	case a.logged != a.indexed:
		return fmt.Errorf("%w: its revision log has %d bytes with digest %v, its index %d with %v",
			errStream, a.logged.size, a.logged.digest, a.indexed.size, a.indexed.digest)
	case a.retained != c.retained():
		return fmt.Errorf("%w: its versions add up to %d bytes with digest %v, its counters say %d with %v",
			errStream, a.retained.size, a.retained.digest, c.retained().size, c.retained().digest)
	case a.published != c.published:
		return fmt.Errorf("%w: its members, alarms and quota have digest %v, its counters say %v", errStream, a.published, c.published)
	case a.leased != c.sums.digest:
		return fmt.Errorf("%w: its leases have digest %v, their record says %v", errStream, a.leased, c.sums.digest)
	case a.listed != a.attached:
		return fmt.Errorf("%w: the keys that it lists with leases are not those that are attached to them", errStream)
	case c.digest(&a.hasher) != digest:
		return fmt.Errorf("%w: its digest is %v, its end says %v", errStream, c.digest(&a.hasher), digest)
	}
	return nil
}
