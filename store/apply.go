package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/balsadb/balsa"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// Apply implements balsa.StateMachine. All of a batch reaches the engine at once, or none of it. An error is a
// failure of this replica: a damaged or failed engine, or a command that this build does not know.
func (s *Store) Apply(batch *balsa.Batch) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failure != nil {
		return s.failure
	}
	e := &s.writer
	if batch.Position.Index < e.applied.Index {
		return fmt.Errorf("store: a batch up to index %d came after index %d was applied",
			batch.Position.Index, e.applied.Index)
	}
	saved, savedMembers, savedAlarms, savedQuota := e.counters, e.members, e.alarms, e.quota
	e.collecting = s.hub.watching.Load() > 0
	err := s.execute(batch)
	for _, v := range [...]*view{&e.view, &e.durable} {
		if closing := v.close(); err == nil {
			err = closing
		}
	}
	if err == nil {
		err = s.engine.Apply(e.batch)
	}
	if err != nil {
		// Whatever the engine did with the batch, readers go on seeing the state before it.
		e.finish()
		e.counters, e.members, e.alarms, e.quota = saved, savedMembers, savedAlarms, savedQuota
		s.failure = damaged(fmt.Errorf("store: applying up to index %d: %w", batch.Position.Index, err))
		return s.failure
	}
	e.remember()
	s.publish()
	s.news.tell(e.touched)
	e.finish()
	s.tellWatchers()
	if e.unflushed.full() {
		if s.failure = s.forgetFlushed(); s.failure != nil {
			return s.failure
		}
	}
	s.collection.want(e.compacted, e.census.crowded)
	e.census.crowded = false
	return nil
}

// remember keeps what the batch wrote last of each key. A compaction may remove a tombstone meanwhile: to those who
// write the key it is the same as no version.
func (e *execution) remember() {
	for _, w := range e.overlay.written {
		if n := len(w.versions); n > 0 {
			e.recent.set(w.key, w.versions[n-1].version)
			e.unflushed.add(w.key, e.applied.Index)
		}
	}
}

// forgetFlushed asks the engine what is durable, so that writers need not look for that in its memory.
func (s *Store) forgetFlushed() error {
	durable, err := s.Durable()
	if err != nil {
		return damaged(fmt.Errorf("store: asking how far the state is durable: %w", err))
	}
	s.writer.unflushed.flushed(durable.Index)
	return nil
}

// finish forgets what belongs to one batch.
func (e *execution) finish() {
	e.batch.Reset()
	e.overlay.reset()
	e.tallies = e.tallies[:0]
	clear(e.index)
	e.index = e.index[:0]
	clear(e.changes)
	e.changes = e.changes[:0]
	e.finishLeases()
}

// execute executes a batch's commands and fills the engine batch.
func (s *Store) execute(batch *balsa.Batch) error {
	e := &s.writer
	e.base = e.revision
	compacted := e.compacted
	last := e.applied.Index
	for i := range batch.Commands {
		command := &batch.Commands[i]
		if command.Index <= last || command.Index > batch.Position.Index {
			return fmt.Errorf("index %d follows %d in a batch up to %d", command.Index, last, batch.Position.Index)
		}
		last = command.Index
		e.at = balsa.Position{Index: command.Index, Term: command.Term}
		var err error
		if command.Result, err = e.command(command.Payload); err != nil {
			return fmt.Errorf("index %d: %w", command.Index, err)
		}
	}
	e.commitIndex()
	e.commitLeases()
	e.commitCensus(e.compacted != compacted)
	e.applied = batch.Position
	if batch.Runtime != nil {
		e.batch.Set(e.single(spaceRuntime), batch.Runtime)
	}
	e.valueBytes = e.counters.append(e.valueBytes[:0])
	e.batch.Set(e.single(spaceMeta), e.valueBytes)
	return nil
}

// command executes one command and returns its result. An error is a failure of the replica.
func (e *execution) command(payload []byte) ([]byte, error) {
	kind, request, err := cutCommand(payload)
	var result []byte
	if err == nil {
		e.begin()
		if result, err = e.dispatch(kind, request); err == nil {
			err = e.checkQuota()
		}
		if err == nil {
			e.commit()
			return result, nil
		}
		e.rollback()
	}
	if err == errOverQuota {
		e.raiseAlarm(Alarm{e.quota.Member, pb.AlarmType_NOSPACE, AlarmByQuota})
		err = rpctypes.ErrGRPCNoSpace
	}
	if errors.Is(err, errMalformed) {
		err = ErrMalformed
	}
	if result, ok := errorResult(err); ok {
		return result, nil
	}
	return nil, err
}

func (e *execution) dispatch(kind Kind, request []byte) ([]byte, error) {
	if err := e.forbidden(kind); err != nil {
		return nil, err
	}
	switch kind {
	case KindPut:
		return e.applyPut(request)
	case KindDeleteRange:
		return e.applyDeleteRange(request)
	case KindTxn:
		return e.applyTxn(request)
	case KindCompaction:
		var r pb.CompactionRequest
		if err := unmarshal(request, &r); err != nil {
			return nil, err
		}
		if err := e.compact(r.Revision); err != nil {
			return nil, err
		}
		e.relax()
	case KindMember:
		if err := e.publish(request); err != nil {
			return nil, err
		}
	case KindLeaseGrant:
		return e.grant(request)
	case KindLeaseRenew:
		return e.renew(request)
	case KindLeaseRevoke:
		if err := e.revokeRequest(request); err != nil {
			return nil, err
		}
	case KindLeaseExpire:
		if err := e.expire(request); err != nil {
			return nil, err
		}
	case KindLeaseTick:
		if err := e.tick(request); err != nil {
			return nil, err
		}
	case KindAlarm:
		return e.applyAlarm(request)
	case KindQuota:
		if err := e.applyQuota(request); err != nil {
			return nil, err
		}
	}
	return appendHeaderResult(nil, e.revision), nil
}

func (e *execution) applyPut(request []byte) ([]byte, error) {
	r := &e.putRequest
	if !AliasPut(request, r) {
		if err := unmarshal(request, r); err != nil {
			return nil, err
		}
	}
	if err := e.grow(); err != nil {
		return nil, err
	}
	if err := checkPutRequest(r); err != nil {
		return nil, err
	}
	if err := e.checkLease(r.Lease); err != nil {
		return nil, err
	}
	if !r.PrevKv && !r.IgnoreValue && !r.IgnoreLease {
		if err := e.put(r.Key, r.Value, r.Lease); err != nil {
			return nil, err
		}
		return appendHeaderResult(make([]byte, 0, 16), e.revision), nil
	}
	response, err := e.executePut(r)
	if err != nil {
		return nil, err
	}
	return messageResult(response)
}

func (e *execution) applyDeleteRange(request []byte) ([]byte, error) {
	var r pb.DeleteRangeRequest
	if err := unmarshal(request, &r); err != nil {
		return nil, err
	}
	response, err := e.executeDeleteRange(context.Background(), &r)
	if err != nil {
		return nil, err
	}
	return messageResult(response)
}

func (e *execution) applyTxn(request []byte) ([]byte, error) {
	var r pb.TxnRequest
	if err := unmarshal(request, &r); err != nil {
		return nil, err
	}
	if PutsAnything(&r) {
		if err := e.grow(); err != nil {
			return nil, err
		}
	}
	t := transaction{
		ctx: context.Background(), view: &e.view, begin: moment{e.revision, e.compacted}, write: e,
	}
	response, err := t.execute(&r)
	if err != nil {
		return nil, err
	}
	return messageResult(proto.Message(response))
}
