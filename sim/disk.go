package sim

import (
	"errors"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/vfs"
)

// errDisk is what a broken disk says.
var errDisk = errors.New("input/output error")

// diskFaults are what is wrong with a host's disk.
type diskFaults struct {
	failIn  int           // operations until one fails; 0 for none
	partial bool          // a write that fails has written half of its bytes
	full    bool          // there is no room for files that grow
	stalled actor.Instant // until then every sync takes that long
	hurt    *life         // the life that met an error: it may end in a fence, and may not have begun
	// Counts of what happened.
	errors, refused, stalls uint64
}

// wasHurt reports whether a life met an error of its disk.
func (d *diskFaults) wasHurt(l *life) bool { return d.hurt == l }

// onDisk gives a disk operation its time, lets it fail, or cuts the power before it.
func (h *Host) onDisk(current *life, op vfs.Op) error {
	if current.over {
		return vfs.ErrPowerOff
	}
	c := h.cluster
	w := c.World
	w.note(Event{Member: h.ID, Actor: "disk", What: op.Kind.String(), N: uint64(op.Size), Index: balsa.Index(op.Offset), Detail: op.Name})
	c.Operations++
	if c.Operations == c.CutAt {
		c.PowerCut()
		panic(powerCut{current})
	}
	if current.opsLeft == 0 {
		h.Crash()
		panic(powerCut{current})
	}
	current.opsLeft--
	sync := op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir
	switch {
	case sync && h.disk.stalled > w.now:
		h.disk.stalls++
		w.spend(time.Duration(h.disk.stalled - w.now))
	case sync:
		w.spend(w.Between(80*time.Microsecond, 2*time.Millisecond))
	default:
		w.spend(w.Between(2*time.Microsecond, 50*time.Microsecond))
	}
	return h.disk.fails(current, op)
}

// fails says whether an operation fails.
func (d *diskFaults) fails(current *life, op vfs.Op) error {
	if d.full && (op.Kind == vfs.OpCreate || op.Kind == vfs.OpPreallocate) {
		d.refused++
		return vfs.ErrNoSpace
	}
	if d.failIn <= 0 {
		return nil
	}
	if d.failIn--; d.failIn > 0 {
		return nil
	}
	d.errors++
	d.hurt = current
	if d.partial && op.Kind == vfs.OpWrite {
		return &vfs.PartialError{Written: int(op.Size / 2), Err: errDisk}
	}
	return errDisk
}
