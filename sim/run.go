package sim

import (
	"maps"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/internal/history"
	"github.com/balsadb/balsa/raft"
)

// RunOptions say which run it is, and what is left out of it. What a seed means changes with the code, never with these.
type RunOptions struct {
	Seed uint64
	// Without leaves out classes of faults ("disk"), single ones ("pauses"), or "all".
	Without []string
	// Faults, Operations: no more than so many; 0 for no limit. Drop leaves out single faults, by their numbers.
	Faults     int
	Operations int
	Drop       []int
	// OnTrace sees every event; nil is fine.
	OnTrace func(Event)

	staleReads bool // planted: reads ask no leader
	ignoreSync bool // planted: disks keep nothing
	unsteady   bool // planted: what the network loses hangs on something other than the seed
}

// Result is what came of a run.
type Result struct {
	Options   RunOptions
	Plan      Plan
	Hash      uint64
	Steps     uint64
	Simulated time.Duration
	Counters  Counters
	Peaks     Counters // the largest of each, not the sum
	Faults    []Injected
	Violation *Violation // nil where all held
}

// run is one run while it goes on.
type run struct {
	options RunOptions
	plan    Plan
	world   *World
	cluster *Cluster
	network *Network
	history *history.History

	begun     actor.Instant
	disturbed time.Duration // when the last fault was planned
	healing   bool          // the safety phase is over
	asked     int
	issued    map[uint64]*operation // writes, by the hash of their commands
	replay    *replay
	fresh     *freshReads
	leases    *leasesHold
	watches   *watchesTold
	members   *configurations
	crowd     crowd
	checks    []invariant
	turners   []turnWatcher
	sayers    []sayWatcher
	protocols []protocolView
	term      raft.Term

	intercepts   []*interception
	strikes      int // at the next new leaders
	strikeWithin time.Duration

	counters  Counters
	peaks     Counters
	injected  []Injected
	violation *Violation
}

// Run makes one run: a safety phase, in which anything may happen, and a liveness phase, in which first a majority and then
// everything is healed, and progress must follow.
func Run(options RunOptions) Result {
	r := newRun(options)
	r.safetyPhase()
	r.livenessPhase()
	if r.violation == nil {
		each(r, func(w endWatcher) error { return w.finish() })
	}
	return r.result()
}

func newRun(options RunOptions) *run {
	w := NewWorld(options.Seed)
	w.OnTrace = options.OnTrace
	r := &run{
		options: options, plan: NewPlan(options.Seed), world: w, begun: w.now, issued: map[uint64]*operation{},
		counters: Counters{}, peaks: Counters{}, history: history.New(func() int64 { return int64(w.now) }),
	}
	r.skipsCrowd()
	newState := func() (State, error) { return newStoreState(r.plan.Engine, r.plan.Crowd.Bounds) }
	r.cluster = must(NewCluster(w, Options{
		Members: r.plan.Members, ElectionTimeout: r.plan.ElectionTimeout, Limits: r.plan.Limits,
		SegmentSize: r.plan.SegmentSize, NewState: newState, IgnoreSync: options.ignoreSync, Life: r.configure,
	}))
	n := r.cluster.Network
	r.network = n
	n.Fastest, n.Slowest, n.QueueBytes = r.plan.Fastest, r.plan.Slowest, r.plan.QueueBytes
	n.LossOneIn, n.DuplicateOneIn = r.plan.LossOneIn, r.plan.DuplicateOneIn
	if options.unsteady {
		n.chance = rand.New(rand.NewPCG(rand.Uint64(), 0)) //balsa:edge a test wants to see it noticed
	}
	if r.skips(-1, &fault{class: "network", name: "lost frames"}) {
		n.LossOneIn = 0
	}
	if r.skips(-1, &fault{class: "network", name: "duplicated messages"}) {
		n.DuplicateOneIn = 0
	}
	return r
}

// configure gives a member's next life what it needs, and in some runs limits and segments of its own.
func (r *run) configure(h *Host, host *balsa.HostConfig, group *balsa.GroupConfig) {
	group.OnRemoved = func(string) { r.toldRemoved(h) }
	r.plan.Sending.configure(host)
	if r.plan.Reluctant && h.ID%2 == 0 {
		group.Reluctance = r.plan.ElectionTimeout * time.Duration(h.ID%3) / 2
	}
	if !r.plan.Reconfigured {
		return
	}
	random := rand.New(rand.NewPCG(r.world.seed, 0x6c696665<<16|uint64(h.Crashes)<<8|uint64(h.ID)))
	host.SegmentSize, group.Limits = drawSegmentSize(random), r.plan.drawLimits(random)
}

func (r *run) safetyPhase() {
	r.watch()
	for _, h := range r.cluster.Hosts {
		r.start(h)
	}
	r.startClients()
	if r.plan.Clients.Compact > 0 || r.plan.Clients.OldReads > 0 {
		r.collectGarbage()
	}
	r.disturb()
	r.world.Run(r.plan.Length)
	r.healing = true
}

// collectGarbage runs each member's removal of what was compacted, step by step.
func (r *run) collectGarbage() {
	r.world.After(r.world.Between(0, r.plan.ElectionTimeout), func() {
		for _, h := range r.cluster.Hosts {
			if !h.Up() || h.life.paused {
				continue
			}
			if _, err := h.State.(*StoreState).CollectGarbage(1 + r.world.IntN(20)); err != nil {
				r.fail("members stop only when their disk fails", err)
			}
		}
		if !r.healing {
			r.collectGarbage()
		}
	})
}

// issue remembers a command, so that it is known when it is applied.
func (r *run) issue(payload []byte, op *operation) { r.issued[xxhash.Sum64(payload)] = op }

// acknowledged is told of each command that a client learns to be applied.
func (r *run) acknowledged(h *Host, result balsa.Result) {
	each(r, func(w answerWatcher) error { return w.answered(h, result) })
}

// answered judges an answer, before anything else is asked.
func (r *run) answered(op *operation, a history.Answer) {
	r.counters["operations acknowledged"]++
	r.counters["acknowledged: "+op.Kind.String()]++
	if err := r.replay.answer(op, a); err != nil {
		r.fail(r.replay.name(), err)
	}
}

// refused is told where a client learns that its command was never appended.
func (r *run) refused(op *operation) {
	r.counters["operations refused"]++
	op.call.NotDone()
	op.refused = true
}

// readAt judges what a member read at an old revision.
func (r *run) readAt(h *Host, key string, revision int64, a history.Answer) {
	if err := r.replay.read(key, revision, a); err != nil {
		r.fail(r.replay.name(), err)
	}
}

// collect adds up what a life counted, before it is over.
func (r *run) collect(h *Host) {
	s := h.runtime.LogStats()
	r.counters["log syncs"] += s.Syncs
	r.counters["log segments filled"] += s.Rolls
	r.counters["log segments removed"] += s.Removed
	g := h.Group.Counters()
	r.counters["snapshots sent"] += g.SnapshotsSent
	r.counters["snapshots installed"] += g.SnapshotsInstalled
	r.counters["snapshots resumed"] += g.SnapshotsResumed
	r.counters["snapshots delegated"] += g.SnapshotsDelegated
	c := h.life.protocol.Status().Counts
	r.counters["terms campaigned in"] += c.Campaigns
	r.counters["pre-votes asked for"] += c.PreCampaigns
	r.counters["offices given up"] += c.StepDowns
	r.counters["snapshots needed"] += c.Snapshots
	r.counters["packets dropped for want of room"] += first(h.runtime.Dropped())
	if b := h.runtime.Recovery(); b.CutBytes > 0 {
		r.counters["torn bytes cut"] += uint64(b.CutBytes)
	}
}

// raise notes how large something was.
func (r *run) raise(name string, n uint64) { r.peaks[name] = max(r.peaks[name], n) }

func first[A, B any](a A, _ B) A { return a }

func (r *run) result() Result {
	for _, h := range r.cluster.ever {
		if h.Up() {
			r.collect(h)
		}
		r.counters["lives that ended"] += uint64(h.Crashes)
		r.counters["disk operations refused for want of space"] += h.disk.refused
		r.counters["syncs that stalled"] += h.disk.stalls
		r.counters["operations that the disk failed"] += h.disk.errors
		_ = h.State.(*StoreState).Close()
	}
	t := &r.network.Traffic
	r.counters.add(Counters{
		"frames sent": t.Sent, "frames delivered": t.Delivered, "frames lost": t.Lost, "frames duplicated": t.Duplicated,
		"frames replayed": t.Replayed, "frames refused by full queues": t.Refused, "bulk frames": t.Bulk, "connections broken": t.Breaks,
	})
	r.counters["operations asked"] += uint64(r.asked)
	r.counters["commands replayed"] += uint64(len(r.replay.done) - 1)
	r.counters["torn tails"] = r.counters["starts: torn tail"]
	r.raise("term", uint64(r.term))
	maps.DeleteFunc(r.counters, func(_ string, n uint64) bool { return n == 0 })
	r.countJudgements()
	return Result{
		Options: r.options, Plan: r.plan, Hash: r.world.hash, Steps: r.world.steps,
		Simulated: time.Duration(r.world.now - r.begun), Counters: r.counters, Peaks: r.peaks, Faults: r.injected, Violation: r.violation,
	}
}
