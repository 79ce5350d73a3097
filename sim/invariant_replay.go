package sim

import (
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/history"
	"github.com/balsadb/balsa/store"
)

// replay applies the commands in the order of the log to a model that is too simple to be wrong: every member's result of
// every command, and every answer that a client was given, must be the model's. So a command that is applied twice, lost, or
// applied though it was refused shows as well.
type replay struct {
	tally
	*model
	run *run
	// commands are those that were asked for, by their hashes, beside the operations that are in the history.
	commands map[uint64]*asked
	// done is what was applied, by index: the entry at index i is done[i].
	done []appliedCommand
}

type appliedCommand struct{ payload, result uint64 }

func newReplay(r *run) *replay {
	return &replay{run: r, model: newModel(func() worldMoment { return worldMoment{r.world.now, r.fast()} }), commands: map[uint64]*asked{}, done: []appliedCommand{{}}}
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
	hash := xxhash.Sum64(c.Payload)
	op, other := m.run.issued[hash], m.commands[hash]
	if op == nil && other == nil {
		return fmt.Errorf("nobody asked for this command of kind %v", store.CommandKind(c.Payload))
	}
	if err := m.apply(c); err != nil {
		return err
	}
	if op == nil {
		return other.happened(c.Index)
	}
	switch {
	case op.applied != 0:
		return fmt.Errorf("%v of %s, which was applied at index %d already", op.Kind, op.Key, op.applied)
	case op.refused:
		return fmt.Errorf("%v of %s, which its client was told was never appended", op.Kind, op.Key)
	}
	op.applied = c.Index
	op.call.Happened()
	op.expect = decodeAnswer(op.Kind, c.Result)
	return nil
}

// value returns what a key holds at a revision, "" where it is not there.
func (m *replay) value(key string, revision int64) string {
	if pair := m.live(key, revision); pair != nil {
		return string(pair.Value)
	}
	return ""
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
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	want, err := m.rangeAt(m.moment(), all)
	if err != nil {
		return err
	}
	got, err := m.run.cluster.Hosts[0].State.(*StoreState).Range(context.Background(), all)
	if err == nil && !proto.Equal(got, want) {
		err = fmt.Errorf("the keys are %.1000v, the replay says %.1000v", got, want)
	}
	return err
}

// short cuts a large value for an error's sentence.
func short(a history.Answer) history.Answer {
	if len(a.Value) > 40 {
		a.Value = a.Value[:40] + "…"
	}
	return a
}
