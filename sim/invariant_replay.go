package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/history"
	"github.com/balsadb/balsa/store"
)

// replay applies the commands in the order of the log to a model that is too simple to be wrong: every member's result of
// every command, and every answer that a client was given, must be the model's. So a command that is applied twice, lost, or
// applied though it was refused shows as well.
type replay struct {
	tally
	run      *run
	revision int64
	keys     map[string][]keyVersion
	// done is what was applied, by index: the entry at index i is done[i].
	done []appliedCommand
}

type keyVersion struct {
	revision int64
	value    string // "" is absent
}

type appliedCommand struct{ payload, result uint64 }

func newReplay(r *run) *replay {
	return &replay{run: r, revision: 1, keys: map[string][]keyVersion{}, done: []appliedCommand{{}}}
}

func (*replay) name() string { return "replay in revision order" }

func (m *replay) applied(h *Host, batch *balsa.Batch) error {
	for i := range batch.Commands {
		c := &batch.Commands[i]
		this := appliedCommand{xxhash.Sum64(c.Payload), xxhash.Sum64(c.Result)}
		m.judges()
		if int(c.Index) < len(m.done) {
			if known := m.done[c.Index]; known != this {
				return fmt.Errorf("member %d applied another command at index %d than others, or with another result: %x and %x", h.ID, c.Index, this, known)
			}
			continue
		}
		for len(m.done) < int(c.Index) { // what is no command
			m.done = append(m.done, appliedCommand{})
		}
		m.done = append(m.done, this)
		if err := m.command(c); err != nil {
			return fmt.Errorf("index %d, first applied by member %d: %w", c.Index, h.ID, err)
		}
	}
	return nil
}

// command replays a command that is applied for the first time.
func (m *replay) command(c *balsa.Command) error {
	op := m.run.issued[xxhash.Sum64(c.Payload)]
	if op == nil {
		return m.foreign(c)
	}
	switch {
	case op.applied != 0:
		return fmt.Errorf("%v of %s, which was applied at index %d already", op.Kind, op.Key, op.applied)
	case op.refused:
		return fmt.Errorf("%v of %s, which its client was told was never appended", op.Kind, op.Key)
	}
	op.applied = c.Index
	op.call.Happened()
	op.expect = m.step(op.Operation)
	if got := decodeAnswer(op.Kind, c.Result); got != op.expect {
		return fmt.Errorf("%v of %s answered %+v, the replay says %+v", op.Kind, op.Key, short(got), short(op.expect))
	}
	return nil
}

// step applies an operation to the model.
func (m *replay) step(op history.Operation) history.Answer {
	now := m.value(op.Key, m.revision)
	switch op.Kind {
	case history.Put:
		m.set(op.Key, op.Value)
	case history.Delete:
		if now == "" {
			return history.Answer{Revision: m.revision}
		}
		m.set(op.Key, "")
		return history.Answer{Revision: m.revision, Done: true}
	case history.Swap:
		if now != op.Expect {
			return history.Answer{Revision: m.revision, Value: now}
		}
		m.set(op.Key, op.Value)
		return history.Answer{Revision: m.revision, Done: true}
	}
	return history.Answer{Revision: m.revision}
}

func (m *replay) set(key, value string) {
	m.revision++
	m.keys[key] = append(m.keys[key], keyVersion{m.revision, value})
}

// value returns what a key holds at a revision.
func (m *replay) value(key string, revision int64) string {
	versions := m.keys[key]
	n := sort.Search(len(versions), func(i int) bool { return versions[i].revision > revision })
	if n == 0 {
		return ""
	}
	return versions[n-1].value
}

// foreign replays a command that no client asked for: a compaction, or a write of the run's own.
func (m *replay) foreign(c *balsa.Command) error {
	kind, request, err := store.DecodeCommand(c.Payload)
	if err != nil {
		return err
	}
	switch r := request.(type) {
	case *pb.CompactionRequest:
		return nil
	case *pb.PutRequest:
		m.set(string(r.Key), string(r.Value))
		return nil
	}
	return fmt.Errorf("nobody asked for this command of kind %v", kind)
}

// answer compares what a client was answered with the replay.
func (m *replay) answer(op *operation, got history.Answer) error {
	if op.Kind == history.Get {
		return m.read(op.Key, got.Revision, got)
	}
	switch {
	case op.applied == 0:
		return fmt.Errorf("%v of %s was answered, and nobody has applied it", op.Kind, op.Key)
	case got != op.expect:
		return fmt.Errorf("%v of %s, applied at index %d, was answered with %+v, the replay says %+v", op.Kind, op.Key, op.applied, short(got), short(op.expect))
	}
	return nil
}

// read compares what was read of a key at a revision.
func (m *replay) read(key string, revision int64, got history.Answer) error {
	if got.Revision > m.revision {
		return fmt.Errorf("a read was answered with revision %d, the replay is at %d", got.Revision, m.revision)
	}
	if want := m.value(key, revision); got.Value != want {
		return fmt.Errorf("a read of %s at revision %d found %.40q, the replay says %.40q", key, revision, got.Value, want)
	}
	return nil
}

func (m *replay) finish() error {
	for _, h := range m.run.cluster.Hosts {
		if at := h.State.(*StoreState).Revision(); at != m.revision {
			return fmt.Errorf("member %d is at revision %d, the replay at %d", h.ID, at, m.revision)
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		state := m.run.cluster.Hosts[0].State.(*StoreState)
		got, err := lookUp(state, key, 0)
		if err == nil && got.Value != m.value(key, m.revision) {
			err = fmt.Errorf("%s is %.40q, the replay says %.40q", key, got.Value, m.value(key, m.revision))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// short cuts a large value for an error's sentence.
func short(a history.Answer) history.Answer {
	if len(a.Value) > 40 {
		a.Value = a.Value[:40] + "…"
	}
	return a
}
