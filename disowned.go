package balsa

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// Who comes back with less than it had (its disk was wiped, swapped, or is an older copy) does not know that himself: it would vote and
// acknowledge as if it had promised nothing, and a write that it had helped to commit could be lost by that (E21). The other hosts
// remember (transport.Register), refuse it, and say why. It believes them, and takes part in nothing any more, not even with those who do not know.

// TroubleDisowned: the other hosts do not take this one for the member that it says to be.
const TroubleDisowned = "disowned"

// Progress is how far the log is known to be durable, for the others to remember. It implements an optional part of transport.Receiver.
func (h *Host) Progress() transport.Progress { return transport.Progress(h.log.Progress()) }

// Disowned is called by the transport where a host does not take this one for who it says to be. It is so for ever: all groups are fenced.
func (h *Host) Disowned(peer raft.MemberID, reason transport.Reason, text string) {
	h.tell(Trouble{
		Kind: TroubleDisowned, Text: "the others do not listen to this member any more: " + reason.String(),
		Remedy: "let it join again as a new member in its place: balsa rejoin, with the flags that it is started with",
	}, memberAttr("peer", peer), slog.String("told", text))
	h.disowned.CompareAndSwap(nil, &diskError{fmt.Errorf("%w: member %x says: %s", ErrDisowned, uint64(peer), text)})
	h.loop.control.Post(func() {
		for _, r := range h.loop.order {
			h.disown(r)
		}
	})
}

// disown stops a group where the others have disowned this host.
func (h *Host) disown(r *replica) {
	disowned := h.disowned.Load()
	if disowned == nil || r.stopped != nil {
		return
	}
	r.fence(disowned.err)
	if r.config.OnDisowned != nil {
		r.config.OnDisowned(disowned.err)
	}
}

// hesitation is how long a member stays out of elections whose log and state are empty: it may be new, and its disk may have been wiped.
func hesitation(restored *raft.Restored, electionTimeout time.Duration) time.Duration {
	if restored.HardState != (raft.HardState{}) || restored.Last > 0 || restored.Applied.Index > 0 {
		return 0
	}
	return electionTimeout
}
