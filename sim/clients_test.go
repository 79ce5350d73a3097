package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/history"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// client asks one thing after the other, of whichever host is up, and records what it was told.
type client struct {
	id      int
	cluster *Cluster
	history *history.History
	keys    int
	asked   int
	stopped bool
	stale   bool              // planted fault: reads without asking the leader
	seen    map[string]string // by key: the last value it knows of, to swap against
}

const patience = time.Second

func (c *client) next() {
	w := c.cluster.World
	if c.stopped {
		return
	}
	h := c.cluster.Hosts[w.IntN(len(c.cluster.Hosts))]
	if !h.Up() {
		w.After(w.Between(time.Millisecond, 20*time.Millisecond), c.next)
		return
	}
	c.asked++
	op := history.Operation{Key: fmt.Sprint("key", w.IntN(c.keys)), Value: fmt.Sprintf("client%d-%d", c.id, c.asked)}
	op.Kind = history.Kind(w.IntN(4))
	op.Expect = c.seen[op.Key]
	call := c.history.Begin(c.id, op)
	answered := false
	over := func(end func()) {
		if answered || c.stopped {
			return
		}
		answered = true
		if end != nil {
			end()
		}
		w.After(w.Between(0, 10*time.Millisecond), c.next)
	}
	w.After(patience, func() { over(nil) })
	c.ask(h, op, func(a history.Answer, err error) {
		over(func() {
			switch {
			case err == nil:
				call.End(a)
				c.learn(op, a)
			case !errors.Is(err, balsa.ErrOutcomeUnknown):
				call.NotDone()
			}
		})
	})
}

func (c *client) learn(op history.Operation, a history.Answer) {
	switch op.Kind {
	case history.Put:
		c.seen[op.Key] = op.Value
	case history.Delete:
		c.seen[op.Key] = ""
	case history.Get:
		c.seen[op.Key] = a.Value
	case history.Swap:
		c.seen[op.Key] = a.Value
		if a.Done {
			c.seen[op.Key] = op.Value
		}
	}
}

// ask does what the server does with a request: propose, or a barrier and a read. The answer of a host whose life is
// over reaches nobody.
func (c *client) ask(h *Host, op history.Operation, done func(history.Answer, error)) {
	life := h.life
	if op.Kind == history.Get {
		state := h.State.(*StoreState)
		barrier := h.Group.ReadAsync
		if c.stale {
			barrier = func(done func(balsa.Index, error)) { done(0, nil) }
		}
		barrier(func(_ balsa.Index, err error) {
			if life.over {
				return
			}
			if err != nil {
				done(history.Answer{}, err)
				return
			}
			r, err := state.Range(context.Background(), &pb.RangeRequest{Key: []byte(op.Key)})
			if err != nil {
				panic(err)
			}
			a := history.Answer{Revision: r.Header.Revision}
			if len(r.Kvs) > 0 {
				a.Value = string(r.Kvs[0].Value)
			}
			done(a, nil)
		})
		return
	}
	h.Group.ProposeEntry(encode(op), patience, func(r balsa.Result, err error) {
		if life.over {
			return
		}
		if err != nil {
			done(history.Answer{}, err)
			return
		}
		done(decode(op, r.Value), nil)
	})
}

func encode(op history.Operation) raft.Entry {
	put := &pb.PutRequest{Key: []byte(op.Key), Value: []byte(op.Value)}
	var entry raft.Entry
	var err error
	switch op.Kind {
	case history.Put:
		entry, err = store.EncodePut(put)
	case history.Delete:
		entry, err = store.EncodeDeleteRange(&pb.DeleteRangeRequest{Key: put.Key})
	default:
		compare := &pb.Compare{Target: pb.Compare_VALUE, Key: put.Key, TargetUnion: &pb.Compare_Value{Value: []byte(op.Expect)}}
		if op.Expect == "" {
			compare = &pb.Compare{Target: pb.Compare_VERSION, Key: put.Key, TargetUnion: &pb.Compare_Version{}}
		}
		entry, err = store.EncodeTxn(&pb.TxnRequest{
			Compare: []*pb.Compare{compare},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: put.Key}}}},
		})
	}
	if err != nil {
		panic(err)
	}
	return entry
}

func decode(op history.Operation, value []byte) history.Answer {
	var a history.Answer
	var err error
	switch op.Kind {
	case history.Put:
		var r *pb.PutResponse
		if r, err = store.DecodePut(value); err == nil {
			a.Revision = r.Header.Revision
		}
	case history.Delete:
		var r *pb.DeleteRangeResponse
		if r, err = store.DecodeDeleteRange(value); err == nil {
			a.Revision, a.Done = r.Header.Revision, r.Deleted > 0
		}
	default:
		var r *pb.TxnResponse
		if r, err = store.DecodeTxn(value); err == nil {
			a.Revision, a.Done = r.Header.Revision, r.Succeeded
			if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
				a.Value = string(kvs[0].Value)
			}
		}
	}
	if err != nil {
		panic(err)
	}
	return a
}

func linearizableRun(seed uint64, stale bool) (*history.History, error) {
	w := NewWorld(seed)
	c, err := NewCluster(w, Options{
		Members: 3 + 2*w.IntN(2), ElectionTimeout: 50 * time.Millisecond, NewState: NewStoreState,
		Limits: balsa.GroupLimits{FlushBytes: 1 + w.IntN(8000)},
	})
	if err != nil {
		return nil, err
	}
	if err := c.StartAll(); err != nil {
		return nil, err
	}
	h := history.New(func() int64 { return int64(w.Now()) })
	var clients []*client
	for i := range 4 {
		cl := &client{id: i, cluster: c, history: h, keys: 5, stale: stale, seen: map[string]string{}}
		clients = append(clients, cl)
		w.After(0, cl.next)
	}
	const length = 4 * time.Second
	c.disturb(length)
	w.Run(length)
	for _, cl := range clients {
		cl.stopped = true
	}
	end, err := store.EncodePut(&pb.PutRequest{Key: []byte("the end")})
	if err != nil {
		return nil, err
	}
	if err := c.Converge(20*time.Second, end); err != nil {
		return h, err
	}
	if err := c.CheckDigests(); err != nil {
		return h, err
	}
	if err := h.Check(5 * time.Second); err != nil {
		return h, fmt.Errorf("seed %d: %w", seed, err)
	}
	return h, nil
}

// TestLinearizable lets clients of the store read, write, delete and swap through faults, and has the answers judged.
func TestLinearizable(t *testing.T) {
	runs := min(*seedCount, 15+*seedCount/4)
	answered, undecided := 0, 0
	for seed := *firstSeed; seed < *firstSeed+runs; seed++ {
		h, err := linearizableRun(seed, false)
		if errors.Is(err, history.ErrUndecided) {
			undecided++
		} else if err != nil {
			t.Fatal(err)
		}
		a, _ := h.Counts()
		answered += a
	}
	if answered < int(runs)*100 || undecided > int(runs)/4 {
		t.Errorf("only %d operations were answered, and %d of %d histories not decided", answered, undecided, runs)
	}
	t.Logf("%d runs, %d operations answered, %d histories not decided", runs, answered, undecided)
}

// TestLinearizableNoticesStaleReads plants a fault that the judge must notice: reads that ask no leader.
func TestLinearizableNoticesStaleReads(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		if _, err := linearizableRun(seed, true); err != nil && !errors.Is(err, history.ErrUndecided) {
			t.Logf("noticed after %d seeds", seed)
			return
		}
	}
	t.Error("twenty runs with stale reads were called linearizable")
}
