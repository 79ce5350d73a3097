package balsa

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/snapshot"
	"github.com/balsadb/balsa/vfs"
)

// A member that needs a snapshot and cannot install it goes on: its log and its votes are sound, so that fencing it would cost the
// group a voter and save nothing. (A state machine that panics in Restore is fenced: nobody knows what its state is.) But it does
// not get any further either, and only an operator can change that. So the status says what is wrong and what to do, until a
// snapshot is installed. The leader tries again, with pauses that grow; what no trying mends is refused at its first piece, before
// all of the state has been sent.

// SnapshotError says why a member could not install the snapshot that it needs, and what is to be done about it. See Status.Behind.
type SnapshotError struct {
	Position Position // of the snapshot
	Cause    error
}

func (e *SnapshotError) Error() string {
	return fmt.Sprintf("this member is too far behind for its leader's log, and could not install a snapshot at index %d: %v; %s",
		e.Position.Index, e.Cause, snapshotRemedy(e.Cause))
}

func (e *SnapshotError) Unwrap() error { return e.Cause }

// snapshotRemedy says what an operator can do, by the kind of error.
func snapshotRemedy(cause error) string {
	switch {
	case errors.Is(cause, snapshot.ErrUnsupported):
		return "it is of a later version: upgrade this member to that of its leader"
	case errors.Is(cause, vfs.ErrNoSpace):
		return "its disk is full: make room, it is tried again by itself"
	case errors.Is(cause, snapshot.ErrDamaged), errors.Is(cause, snapshot.ErrCutShort):
		return "another one is made and sent; where that does not help, look at the disks of this member and of its leader"
	}
	return "it is tried again by itself; where that does not help, the disk or the state machine is in the way"
}

// behind notes why a snapshot could not be installed, or with nil that one was. It may be called from anywhere.
func (g *Group) behind(at Position, cause error) {
	if cause == nil {
		g.snapshotError.Store(nil)
		g.host.ClearTrouble(TroubleSnapshot, g.id)
		return
	}
	g.snapshotError.Store(&SnapshotError{at, cause})
	g.host.SetTrouble(Trouble{
		Kind: TroubleSnapshot, Group: g.id, Remedy: snapshotRemedy(cause),
		Text: fmt.Sprintf("this member is too far behind for its leader's log, and could not install a snapshot: %v", cause),
	})
}

// Behind returns why this member could not install the snapshot that it needs: an error that wraps a *SnapshotError, or nil
// where none failed, or one was installed since.
func (g *Group) Behind() error {
	if err := g.snapshotError.Load(); err != nil {
		return err
	}
	return nil
}

// refusedAtOnce returns why a snapshot need not be received, by its first piece: this version cannot read it. What else may be
// wrong with a piece shows when the snapshot is whole.
func refusedAtOnce(chunk *wire.SnapshotChunk) error {
	if _, err := snapshot.NewReader(bytes.NewReader(chunk.Data)); chunk.Offset == 0 && errors.Is(err, snapshot.ErrUnsupported) {
		return err
	}
	return nil
}
