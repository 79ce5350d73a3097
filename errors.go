package balsa

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// Errors of three kinds, so that a caller knows what may be done again.
//
// Never appended: ErrNoLeader, ErrOverloaded, ErrTooLarge, ErrTransferring, ErrClosed, ErrFenced, ErrStateLost, ErrExpired, ErrLevel.
// Nothing of the command is in any log and nothing of it will ever be applied: it is safe to try again.
//
// Unknown: ErrOutcomeUnknown. The command may have been applied, or may be applied later. It wraps why nobody
// can tell: ErrLeaderChanged, ErrConnectionBroke, ErrClosed, ErrFenced, ErrStateLost, ErrExpired or the context's error.
//
// Everything else that a command can come to is its result, which the state machine decides.
var (
	// ErrNoLeader says that no leader is known, and none showed up while the request was held back.
	ErrNoLeader = raft.ErrNoLeader
	// ErrLeaderChanged is the reason of an unknown outcome: the leader that had the command lost its office.
	ErrLeaderChanged = errors.New("the leader lost its office")
	// ErrOverloaded says that a bound of GroupLimits or raft.Limits is reached. Trying again later is right.
	ErrOverloaded = raft.ErrOverloaded
	// ErrTooLarge says that a command is larger than the log takes.
	ErrTooLarge = raft.ErrTooLarge
	// ErrTransferring says that the leader is handing over its office. Trying again in a moment is right.
	ErrTransferring = raft.ErrTransferring
	// ErrOutcomeUnknown says that a command may have been applied, or may be yet; see above.
	ErrOutcomeUnknown = errors.New("outcome unknown: the command may have been applied, or may be yet")
	// ErrConnectionBroke is the reason of an unknown outcome: the command was on its way to the leader, or its
	// result on its way back, when the connection broke.
	ErrConnectionBroke = errors.New("the connection with the leader broke")
	// ErrExpired says that a request's timeout passed. Alone it means that the command was never appended.
	ErrExpired = errors.New("the request's timeout passed")
	// ErrClosed says that the group or its host is closed.
	ErrClosed = errors.New("group closed")
	// ErrFenced is wrapped where the group was stopped on this host because going on would not be safe: its state machine
	// failed or panicked, an assertion of the protocol failed, or the log's disk did. Other groups go on, save after a disk failure.
	ErrFenced = errors.New("group fenced on this host")
	// ErrStateLost says that this member's state is of no use and is being rebuilt: it is read nowhere here, and a leader of that kind
	// appends nothing and hands over. Other members go on. See Rebuilder.
	ErrStateLost = errors.New("the state of this group is of no use on this host, and is being rebuilt")
	// ErrStateDamaged is to be wrapped by errors of a Rebuilder, and of what it hands out, that say that the stored state is damaged.
	ErrStateDamaged = errors.New("the stored state is damaged")
	// ErrDisowned is why a group was fenced where the other hosts know that this one has lost what it had promised: its disk was wiped,
	// swapped, or set back to an older copy. It must join again as a new member (E21).
	ErrDisowned = errors.New("the other members do not take this one for who it says to be")
	// ErrMembersFixed says that the members of a group cannot change, since its state machine does not store who they are.
	ErrMembersFixed = errors.New("the members of this group cannot change")
	// ErrTransferFailed says that a leadership transfer did not come about; the leader, whoever it is, goes on.
	ErrTransferFailed = errors.New("leadership was not transferred")
)

// NotLeaderError says that only the leader could have done what was asked, and who that is, if anybody.
type NotLeaderError = raft.NotLeaderError

// unknownError says why an outcome is unknown.
type unknownError struct{ reason error }

func unknown(reason error) error { return &unknownError{reason} }

func (e *unknownError) Error() string   { return ErrOutcomeUnknown.Error() + ": " + e.reason.Error() }
func (e *unknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.reason} }

// fencedError says why a group was fenced.
type fencedError struct {
	group GroupID
	cause error
}

func (e *fencedError) Error() string {
	return fmt.Sprintf("group %d fenced on this host: %v", e.group, e.cause)
}
func (e *fencedError) Unwrap() []error { return []error{ErrFenced, e.cause} }

// panicError carries what a recovered panic said, and where it was.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}
