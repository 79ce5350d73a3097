package sim

import (
	"fmt"
	"slices"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/wal"
)

// durable: what was acknowledged to a client is on the disks of a majority, whatever happens next. The protocol's own idea of what
// is durable proves nothing here: of some acknowledgements each disk is asked what a power cut at this very moment would
// leave, with the log's own recovery. The others are tested by the power cuts of the run.
type durable struct {
	tally
	run   *run
	calls int
}

func (*durable) name() string { return "acknowledged is durable on a majority" }

// auditOneIn is how many acknowledgements there are to one whose disks are asked.
const auditOneIn = 200

func (d *durable) answered(_ *Host, result balsa.Result) error {
	if d.calls++; d.calls%auditOneIn != 1 {
		return nil
	}
	d.run.counters["audits of disks"]++
	d.judges()
	c := d.run.members.ruling(result.Index)
	q := d.run.quorum(c, func(h *Host) bool { return h.keeps(result) })
	if q.holds() {
		return nil
	}
	return fmt.Errorf("index %d of term %d was acknowledged, and a power cut would leave it on %v (configuration of index %d)",
		result.Index, result.Term, q, c.Index)
}

// keeps reports whether a host would still have an entry if its power were cut now, in its log or in its state.
func (h *Host) keeps(at balsa.Result) bool {
	if h.durable() >= at.Index {
		return true
	}
	log, recovered, err := wal.Open(h.Disk.Clone().PowerCut(nil), "wal", wal.Options{
		Identity: wal.Identity{Cluster: 1, Member: h.ID}, SegmentSize: h.cluster.options.SegmentSize, Mend: true,
	})
	if err != nil {
		return false
	}
	defer log.Close()
	for _, g := range recovered.Groups {
		if g.Group == group {
			return holds(g, at)
		}
	}
	return false
}

// durable returns how far a host's state would survive a power cut by itself.
func (h *Host) durable() balsa.Index {
	state := h.State.(*StoreState)
	at, err := state.Durable()
	if err != nil || state.volatile() {
		return 0
	}
	return at.Index
}

func holds(g wal.GroupState, at balsa.Result) bool {
	if g.Doubt || slices.ContainsFunc(g.Damaged, func(lost wal.LostRun) bool { return lost.First <= at.Index && at.Index <= lost.Last }) {
		return false
	}
	if at.Index <= g.Before.Index {
		return true // it was discarded, and nothing is that is not durable elsewhere
	}
	var term raft.Term
	for _, run := range g.Runs {
		if run.First <= at.Index {
			term = run.Term
		}
	}
	return at.Index <= g.Last && term == at.Term
}
