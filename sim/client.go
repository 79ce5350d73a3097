package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/history"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// client asks one thing after the other, of whichever host is up, and records what it was told.
type client struct {
	run    *run
	id     int
	random *rand.Rand
	asked  int
	seen   map[string]string // by key: the last value it knows of, to swap against
}

// operation is one thing that a client asked, and what the run knows of it.
type operation struct {
	history.Operation
	client  int
	call    *history.Call
	applied balsa.Index    // where it was applied first; 0 for not yet
	refused bool           // the client was told that it was never appended
	expect  history.Answer // what the replay says that the answer must be
}

// patience is how long a client waits for an answer.
func (r *run) patience() time.Duration { return 4 * r.plan.ElectionTimeout }

func (r *run) startClients() {
	for i := range r.plan.Clients.Count {
		c := &client{run: r, id: i, random: rand.New(rand.NewPCG(r.world.seed, 0x636c69<<8|uint64(i))), seen: map[string]string{}}
		r.world.After(between(c.random, 0, r.plan.Clients.Think), c.next)
	}
	r.startCrowd()
	if every := r.plan.Clients.Compact; every > 0 && !r.skipsLoad("compaction") {
		r.operate(rand.New(rand.NewPCG(r.world.seed, 0x6f70)), every)
	}
}

// skipsLoad reports whether a kind of load is left out.
func (r *run) skipsLoad(name string) bool {
	return r.skips(-1, &fault{class: "load", name: name})
}

// mayAsk counts an operation, and reports whether there may be one more.
func (r *run) mayAsk() bool {
	if r.healing || r.options.Operations > 0 && r.asked >= r.options.Operations {
		return false
	}
	r.asked++
	return true
}

// think is what a client does between an answer and the next question. Now and then it asks many things without a pause.
func (c *client) think() {
	d := between(c.random, 0, 2*c.run.plan.Clients.Think)
	if c.asked%32 < 8 {
		d = 0
	}
	c.run.world.After(d, c.next)
}

func (c *client) next() {
	r := c.run
	h := r.anyHost(c.random)
	if r.healing || !h.Up() || h.life.paused {
		if !r.healing {
			r.world.After(between(c.random, time.Millisecond, r.plan.ElectionTimeout/4), c.next)
		}
		return
	}
	if !r.mayAsk() {
		return
	}
	c.asked++
	op := c.draw()
	if op.Kind == history.Get && r.plan.Clients.OldReads > 0 && c.random.IntN(r.plan.Clients.OldReads) == 0 {
		c.readOld(h, op.Key)
		c.think()
		return
	}
	c.ask(h, op)
}

// draw says what to ask next.
func (c *client) draw() history.Operation {
	p := &c.run.plan.Clients
	key := c.random.IntN(p.Keys)
	if p.Hot && c.random.IntN(2) == 0 {
		key = 0
	}
	op := history.Operation{
		Kind: history.Kind(c.random.IntN(4)), Key: fmt.Sprint("key", key), Value: fmt.Sprintf("client%d-%d", c.id, c.asked),
	}
	if p.LargeOne > 0 && c.random.IntN(p.LargeOne) == 0 && !c.run.skipsLoad("large values") {
		op.Value += fmt.Sprintf("-%0*d", p.Large, 0)
		c.run.counters["large values"]++
	}
	op.Expect = c.seen[op.Key]
	return op
}

// ask asks a host, and goes on with the next question when it has an answer, or no patience left.
func (c *client) ask(h *Host, asked history.Operation) {
	r := c.run
	op := &operation{Operation: asked, client: c.id, call: r.history.Begin(c.id, asked)}
	r.world.note(Event{Member: h.ID, Actor: "client", What: asked.Kind.String(), N: uint64(c.id), Detail: asked.Key})
	over := false
	end := func() bool {
		if over {
			return false
		}
		over = true
		c.think()
		return true
	}
	r.world.After(r.patience(), func() {
		if end() {
			r.counters["answers that clients did not wait for"]++
		}
	})
	answered := func(a history.Answer, err error) {
		switch {
		case r.healing || !end():
		case err == nil:
			op.call.End(a)
			r.answered(op, a)
			c.learn(asked, a)
		case errors.Is(err, balsa.ErrOutcomeUnknown):
			r.counters["unknown outcomes"]++
		default:
			r.refused(op)
		}
	}
	if asked.Kind == history.Get {
		r.read(h, asked.Key, answered)
		return
	}
	r.propose(h, op, c.encode(asked), answered)
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

// read does what the server does with a read: a barrier, then a look at the state. The answer of a host whose life is
// over reaches nobody.
func (r *run) read(h *Host, key string, done func(history.Answer, error)) {
	life := h.life
	state := h.State.(*StoreState)
	barrier := h.Group.ReadAsync
	if r.options.staleReads {
		barrier = func(done func(balsa.Index, error)) { done(0, nil) }
	}
	fresh := r.fresh.barrier(h)
	barrier(func(index balsa.Index, err error) {
		switch {
		case life.over:
		case err != nil:
			done(history.Answer{}, err)
		default:
			if !r.options.staleReads { // of which the history alone must tell
				r.fail(r.fresh.name(), fresh(index))
			}
			done(lookUp(state, key, 0))
		}
	})
}

// lookUp reads one key, at a revision or (0) as it is.
func lookUp(state *StoreState, key string, revision int64) (history.Answer, error) {
	response, err := state.Range(context.Background(), &pb.RangeRequest{Key: []byte(key), Revision: revision})
	if err != nil {
		return history.Answer{}, err
	}
	a := history.Answer{Revision: response.Header.Revision}
	if len(response.Kvs) > 0 {
		a.Value = string(response.Kvs[0].Value)
	}
	return a, nil
}

// readOld reads a key as it was, on a member that asks nobody: what was compacted is refused, all else is as the replay has it.
func (c *client) readOld(h *Host, key string) {
	state := h.State.(*StoreState)
	if !h.Group.Recovered() || state.Revision() < 2 {
		return
	}
	revision := 1 + c.random.Int64N(state.Revision())
	compacted := state.CompactRevision()
	a, err := lookUp(state, key, revision)
	switch {
	case err == nil:
		c.run.counters["reads of old revisions"]++
		c.run.readAt(h, key, revision, a)
	case errors.Is(err, rpctypes.ErrGRPCCompacted) && revision < compacted:
		c.run.counters["reads of compacted revisions, refused"]++
	default:
		c.run.fail("replay", fmt.Errorf("member %d answered a read of %s at revision %d, with %d compacted: %w", h.ID, key, revision, compacted, err))
	}
}

func (r *run) propose(h *Host, op *operation, entry raft.Entry, done func(history.Answer, error)) {
	life := h.life
	r.issue(entry.Payload(), op)
	h.Group.ProposeEntry(entry, r.patience(), func(result balsa.Result, err error) {
		if life.over {
			return
		}
		if err != nil {
			done(history.Answer{}, err)
			return
		}
		r.acknowledged(h, result)
		done(decodeAnswer(op.Kind, result.Value), nil)
	})
}

// encode makes an operation's command. No two commands of a run are alike, so that each can be told in the log.
func (c *client) encode(op history.Operation) raft.Entry {
	put := &pb.PutRequest{Key: []byte(op.Key), Value: []byte(op.Value)}
	switch op.Kind {
	case history.Put:
		return must(store.EncodePut(put))
	case history.Delete: // a range with this one key in it, that ends differently each time
		return must(store.EncodeDeleteRange(&pb.DeleteRangeRequest{Key: put.Key, RangeEnd: []byte(op.Key + "\x00" + op.Value)}))
	}
	compare := &pb.Compare{Target: pb.Compare_VALUE, Key: put.Key, TargetUnion: &pb.Compare_Value{Value: []byte(op.Expect)}}
	if op.Expect == "" {
		compare = &pb.Compare{Target: pb.Compare_VERSION, Key: put.Key, TargetUnion: &pb.Compare_Version{}}
	}
	return must(store.EncodeTxn(&pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: put.Key}}}},
	}))
}

// must is for what cannot fail but by an error of ours.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func decodeAnswer(kind history.Kind, value []byte) (a history.Answer) {
	switch kind {
	case history.Put:
		a.Revision = must(store.DecodePut(value)).Header.Revision
	case history.Delete:
		response := must(store.DecodeDeleteRange(value))
		a.Revision, a.Done = response.Header.Revision, response.Deleted > 0
	default:
		response := must(store.DecodeTxn(value))
		a.Revision, a.Done = response.Header.Revision, response.Succeeded
		if kvs := response.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
			a.Value = string(kvs[0].Value)
		}
	}
	return a
}

// operate compacts now and then, as an operator or an apiserver does.
func (r *run) operate(random *rand.Rand, every time.Duration) {
	r.world.After(between(random, every/2, every*3/2), func() {
		h := r.anyHost(random)
		if h.Up() && r.replay.revision > 2 && r.mayAsk() {
			revision := r.replay.revision - random.Int64N(min(r.replay.revision-1, 40))
			entry := must(store.EncodeCompaction(&pb.CompactionRequest{Revision: revision}))
			r.command(h, "a compaction", entry, false, func(_ balsa.Result, err error) {
				if err == nil {
					r.counters["compactions"]++
				}
			})
		}
		if !r.healing {
			r.operate(random, every)
		}
	})
}
