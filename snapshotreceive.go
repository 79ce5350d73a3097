package balsa

import "github.com/balsadb/balsa/raft"

// ReceivedBulk implements transport.Receiver. Nothing is sent on the bulk lane yet, so nothing is expected from it.
func (h *Host) ReceivedBulk(raft.MemberID, []byte) {}
