package store

import (
	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// execution applies the commands of one batch: it reads through the overlay and writes into one engine batch.
type execution struct {
	view
	counters
	recent    recent
	unflushed unflushed
	durable   view // of what is durable in the engine
	hasher    hasher
	batch     engine.Batch
	members   members
	alarms    alarms
	quota     Quota
	census    census
	leaseChanges

	base    int64   // the revision that the batch found
	tallies []tally // the garbage as of each revision after base

	// Of the command that is being executed:
	at      balsa.Position
	before  counters // as they were when it began
	grows   bool     // it adds to the size
	changes []change

	index []indexRecord // of the batch, which come after the log's

	collecting bool     // somebody watched when the batch began
	news       []change // all of the batch, if so

	keyBytes, valueBytes []byte        // scratch
	putRequest           pb.PutRequest // the one being executed
}

// change is one version that the current command writes.
type change struct {
	key     []byte
	written *written
	version
	value  []byte
	former int64 // the lease that the key was attached to before
}

// begin starts a command. Either commit or rollback follows.
func (e *execution) begin() {
	e.before, e.grows = e.counters, false
	clear(e.changes)
	e.changes = e.changes[:0]
}

// rollback takes back what the command has done so far.
func (e *execution) rollback() {
	for i := len(e.changes) - 1; i >= 0; i-- {
		e.changes[i].written.undo()
	}
	e.counters = e.before
	e.changes = e.changes[:0]
}

// commit writes the command's changes into the batch.
func (e *execution) commit() {
	for i := range e.changes {
		c := &e.changes[i]
		e.census.note(c)
		e.index = append(e.index, indexRecord{c.key, c.version})
		e.keyBytes = e.appendLogKey(e.keyBytes[:0], c.at)
		e.valueBytes = appendLogValue(e.valueBytes[:0], &c.version, &e.garbage, c.key, c.value)
		e.batch.Set(e.keyBytes, e.valueBytes)
		if c.former != c.lease {
			e.attach(c)
		}
	}
	if e.collecting {
		e.news = append(e.news, e.changes...)
	}
	if len(e.changes) > 0 {
		e.tallies = append(e.tallies, e.garbage)
	}
}

// indexRecord is a record of the index that waits for the end of the batch.
type indexRecord struct {
	key []byte // aliases the command
	version
}

// commitIndex writes the index records of the whole batch. They follow all the log's, which lie together: an engine
// that finds a key's place from where it put the last one finds those at once.
func (e *execution) commitIndex() {
	for i := range e.index {
		r := &e.index[i]
		e.keyBytes = appendVersion(e.appendName(e.keyBytes[:0], r.key), r.at)
		e.valueBytes = appendIndexValue(e.valueBytes[:0], &r.version)
		e.batch.Set(e.keyBytes, e.valueBytes)
	}
}

// place gives the command's next change its revision. The first one takes a main revision for the command.
func (e *execution) place() revision {
	if len(e.changes) == 0 {
		e.revision++
		e.garbage.add(e.next)
		e.next = tally{}
	}
	return revision{e.revision, uint32(len(e.changes))}
}

// newest returns the newest version of key, which may be a tombstone; ok says whether there is one.
func (e *execution) newest(key []byte) (v version, ok bool, err error) {
	if w := e.overlay.get(key); w != nil && len(w.versions) > 0 {
		return w.versions[len(w.versions)-1].version, true, nil
	}
	if v, ok := e.recent.get(key); ok {
		return v, true, nil
	}
	if e.unflushed.has(key) {
		return e.engineAt(key, lastOf(maxRevision))
	}
	return e.durable.engineAt(key, lastOf(maxRevision))
}

// put writes a version of key. Key and value are kept until the batch is applied.
func (e *execution) put(key, value []byte, lease int64) error {
	previous, exists, err := e.newest(key)
	if err != nil {
		return err
	}
	v := version{
		at: e.place(), created: e.revision, count: 1, lease: lease,
		valueHash: hashValue(value), valueSize: int64(len(value)),
	}
	if exists && !previous.tombstone {
		v.created, v.count = previous.created, previous.count+1
		e.supersede(key, &previous)
	}
	e.write(key, &v, value)
	e.changes[len(e.changes)-1].former = previous.lease
	return nil
}

// delete writes a tombstone over a live version.
func (e *execution) delete(key []byte, live *version) {
	v := version{at: e.place(), tombstone: true}
	e.supersede(key, live)
	e.next.add(e.write(key, &v, nil))
	e.changes[len(e.changes)-1].former = live.lease
}

// supersede counts a version that the current command replaces: a compaction at this revision would drop it, but
// what the command itself wrote is dropped by later ones only (see counters).
func (e *execution) supersede(key []byte, v *version) {
	t := tally{v.size(key), e.hasher.version(key, v)}
	if v.at.main < e.revision {
		e.garbage.add(t)
	} else {
		e.next.add(t)
	}
}

func (e *execution) write(key []byte, v *version, value []byte) tally {
	t := tally{v.size(key), e.hasher.version(key, v)}
	e.all.add(t)
	e.changes = append(e.changes, change{key: key, written: e.overlay.add(key, *v, value), version: *v, value: value})
	return t
}
