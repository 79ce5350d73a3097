package transport

import (
	"fmt"
	"sync"

	"github.com/balsadb/balsa/raft"
)

// Register is what a host remembers of the others, across restarts: who is wiped, and comes back as if nothing had been, does not know
// that himself. Its methods may be called concurrently.
type Register interface {
	// Recall returns what is remembered of a member; false where it was never met.
	Recall(raft.MemberID) (Acquaintance, bool)
	// Remember takes the place of what was remembered. With durable it is on disk when nil is returned; else it may be a while later.
	Remember(member raft.MemberID, now Acquaintance, durable bool) error
}

// Acquaintance is what is remembered of a member.
type Acquaintance struct {
	Life    raft.Incarnation
	DataDir [16]byte
	// Progress is the greatest that it was known to have; Boot is the process that it was last met as, 0 where that is not known. Only across
	// processes does less say anything: what one process says over two connections may overtake itself. A Register need not keep it.
	Progress Progress
	Boot     uint64
}

// Progress grows for as long as a data directory lives: how far its log is known to be durable, in its own measure. Everything that the
// member has promised (its terms, its votes, the entries that it acknowledged) lies in front of it. A directory that comes back with less is an older copy. 0
// says nothing.
type Progress uint64

// NewRegister returns a register that ends with the process.
func NewRegister() Register { return &volatileRegister{known: map[raft.MemberID]Acquaintance{}} }

type volatileRegister struct {
	mu    sync.Mutex
	known map[raft.MemberID]Acquaintance
}

func (r *volatileRegister) Recall(member raft.MemberID) (Acquaintance, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, met := r.known[member]
	return a, met
}

func (r *volatileRegister) Remember(member raft.MemberID, now Acquaintance, _ bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[member] = now
	return nil
}

// rejoin is what to do about a member that has lost what it had promised.
const rejoin = "it may have lost what it promised, and must not take part: " +
	"let it join again as a new member in its place, which keeps its name, with `balsa rejoin` and the flags that it is started with"

// Admit decides by a register whether somebody who says to be a member can be, and remembers who came (E21):
//
//	life      | data directory | progress | admitted
//	earlier   |  -             |  -       | no: it has joined again since
//	the same  | another        |  -       | no: its disk was wiped or swapped
//	the same  | the same       | less     | no: its disk is an older copy; yes where it is the process that was met last
//	the same  | the same       | no less  | yes
//	later     |  -             |  -       | yes: it was removed, and has joined again
//	never met |  -             |  -       | yes
//
// An error of the register's is none of the member's: it may try again.
func Admit(register Register, id Identity, boot uint64, progress Progress) (*RefusedError, error) {
	known, met := register.Recall(id.Member)
	switch {
	case met && id.Life < known.Life:
		return refuse(ReasonEarlierLife, "%s has joined again since (life %d, you are life %d): it was removed, and this data directory is out of date",
			memberName(id.Member), known.Life, id.Life), nil
	case met && id.Life == known.Life && id.DataDir != known.DataDir:
		return refuse(ReasonDataDir, "%s came with data directory %s before and now comes with %s, so its disk was wiped or swapped: %s",
			memberName(id.Member), Identity{DataDir: known.DataDir}.dataDir(), id.dataDir(), rejoin), nil
	case met && id.Life == known.Life && progress != 0 && progress < known.Progress && (boot == 0 || boot != known.Boot):
		return refuse(ReasonStale, "%s had come further with this data directory (%d) than it now knows of (%d), so its disk is an older copy: %s",
			memberName(id.Member), known.Progress, progress, rejoin), nil
	}
	now := Acquaintance{id.Life, id.DataDir, progress, boot}
	fresh := !met || known.Life != now.Life
	if !fresh {
		now.Progress = max(progress, known.Progress)
	}
	if now == known && met {
		return nil, nil
	}
	if err := register.Remember(id.Member, now, fresh); err != nil {
		return nil, fmt.Errorf("%s cannot be remembered, and so not be listened to: %w", memberName(id.Member), err)
	}
	return nil, nil
}

// NoteProgress remembers how far a member says to be that is connected.
func NoteProgress(register Register, id Identity, progress Progress) {
	known, met := register.Recall(id.Member)
	if met && known.Life == id.Life && known.DataDir == id.DataDir && progress >= known.Progress {
		known.Progress = progress
		// Also where it is the same: the register keeps what it could not keep the last time.
		_ = register.Remember(id.Member, known, false)
	}
}
