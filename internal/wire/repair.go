package wire

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// StateRequest asks the leader for a snapshot of the state machine: the sender's own state is of no use any more, though its log
// is. Nothing answers it but the snapshot itself.
type StateRequest struct {
	Group    raft.GroupID
	From, To raft.MemberID
	FromLife raft.Incarnation
	Term     raft.Term  // the sender's; the leader is of that term
	AtLeast  raft.Index // the state is of use only if it is not older
}

const stateRequestSize = 48

// StateRequest adds a request for a state.
func (e *Encoder) StateRequest(q StateRequest) {
	w := e.packet(kindStateRequest, stateRequestSize, stateRequestSize)
	w.u64(uint64(q.Group))
	w.u64(uint64(q.From))
	w.u64(uint64(q.To))
	w.u64(uint64(q.FromLife))
	w.u64(uint64(q.Term))
	w.u64(uint64(q.AtLeast))
}

func decodeStateRequest(body []byte) (*StateRequest, error) {
	if len(body) != stateRequestSize {
		return nil, fmt.Errorf("%d bytes, a request for a state has %d", len(body), stateRequestSize)
	}
	r := &reader{b: body}
	return &StateRequest{
		Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), To: raft.MemberID(r.u64()),
		FromLife: raft.Incarnation(r.u64()), Term: r.term(), AtLeast: raft.Index(r.u64()),
	}, nil
}
