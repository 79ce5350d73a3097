package balsa

import (
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/wal"
)

// protocolWatcher is what a Scheduler has besides where one thread runs all actors: it is handed the protocol of each group that
// starts, to look at between turns and never to change. The simulator checks its invariants so.
type protocolWatcher interface {
	WatchProtocol(group GroupID, protocol *raft.Raft)
}

// watched shows a group's protocol to a scheduler that wants to see it.
func (h *Host) watched(group GroupID, protocol *raft.Raft) {
	if w, ok := h.scheduler.(protocolWatcher); ok {
		w.WatchProtocol(group, protocol)
	}
}

// Recovery returns what the opening of the log found and did.
func (h *Host) Recovery() wal.Report { return h.recovery }
