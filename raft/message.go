package raft

// Message is what one member says to another: one type per thing that can be said, in the paper's words.
// The set is closed.
type Message interface {
	// SenderTerm returns the term that the message was sent in (for a pre-vote, the sender's own term, not the one that it asks about).
	SenderTerm() Term
	kind() messageKind // closes the set; kindInvalid for a nil message
}

// Envelope is a message with its addresses.
type Envelope struct {
	Group    GroupID
	From, To MemberID
	// FromLife and ToLife are the incarnations that the sender knows of both ends; a receiver drops what
	// was meant for, or sent by, another life of the same member (E20).
	FromLife, ToLife Incarnation
	Message          Message
}

// PreVoteRequest asks whether the receiver would vote for the sender in term NextTerm. Nobody's term
// or vote changes by it (dissertation §9.6).
type PreVoteRequest struct {
	Term     Term // the sender's current term
	NextTerm Term // the term that it would campaign in
	Last     Position
}

// PreVoteResponse answers a PreVoteRequest. NextTerm echoes the request's.
type PreVoteResponse struct {
	Term     Term
	NextTerm Term
	Granted  bool
}

// RequestVote asks for the receiver's vote in Term (paper §5.2). Transfer marks a campaign that the former
// leader asked for: stickiness does not hold it back (dissertation §3.10).
type RequestVote struct {
	Term     Term
	Last     Position
	Transfer bool
}

// VoteResponse answers a RequestVote.
type VoteResponse struct {
	Term    Term
	Granted bool
}

// AppendEntries replicates entries, or none: a heartbeat is an AppendEntries without entries and obeys
// the same consistency check (paper §5.3, E15). Round is the leader's round of confirmation at the moment of sending.
type AppendEntries struct {
	Term    Term
	Prev    Position
	Commit  Index
	Round   Round
	Entries []Entry
}

// AppendResponse answers an AppendEntries, and is sent again on its own when more of what was accepted became durable.
type AppendResponse struct {
	Term  Term
	Round Round // the largest round that the sender has seen from this leader in this term
	// Match is how far the sender's log is both durable and known to equal the leader's of this term.
	Match Index
	// Rejected is set where the consistency check failed at Prev. Conflict then says where to look next: the
	// last place at or below Prev in the sender's log whose term is not above the leader's term at Prev. No entry
	// between there and Prev can match, so that whole terms of the sender are skipped in one step (E18).
	Rejected bool
	Prev     Index
	Conflict Position
	Last     Index // the sender's last index
}

// TimeoutNow tells the receiver to campaign at once: leadership is being transferred to it.
type TimeoutNow struct{ Term Term }

// ReadIndexRequest asks the leader for an index that a linearizable read may be served at. The asker never
// uses an ID for two sets of reads, across restarts neither, so that a late answer confirms nothing (E39).
type ReadIndexRequest struct {
	Term Term
	ID   ReadID
}

// ReadIndexResponse answers it, once a majority has confirmed the leader after the request arrived. A member
// that does not lead gives no answer.
type ReadIndexResponse struct {
	Term  Term
	ID    ReadID
	Index Index
}

func (m *PreVoteRequest) SenderTerm() Term    { return m.Term }
func (m *PreVoteResponse) SenderTerm() Term   { return m.Term }
func (m *RequestVote) SenderTerm() Term       { return m.Term }
func (m *VoteResponse) SenderTerm() Term      { return m.Term }
func (m *AppendEntries) SenderTerm() Term     { return m.Term }
func (m *AppendResponse) SenderTerm() Term    { return m.Term }
func (m *TimeoutNow) SenderTerm() Term        { return m.Term }
func (m *ReadIndexRequest) SenderTerm() Term  { return m.Term }
func (m *ReadIndexResponse) SenderTerm() Term { return m.Term }

type messageKind uint8

const (
	kindInvalid messageKind = iota
	kindPreVoteRequest
	kindPreVoteResponse
	kindRequestVote
	kindVoteResponse
	kindAppendEntries
	kindAppendResponse
	kindTimeoutNow
	kindReadIndexRequest
	kindReadIndexResponse
	kindCount
)

func (m *PreVoteRequest) kind() messageKind    { return unlessNil(m != nil, kindPreVoteRequest) }
func (m *PreVoteResponse) kind() messageKind   { return unlessNil(m != nil, kindPreVoteResponse) }
func (m *RequestVote) kind() messageKind       { return unlessNil(m != nil, kindRequestVote) }
func (m *VoteResponse) kind() messageKind      { return unlessNil(m != nil, kindVoteResponse) }
func (m *AppendEntries) kind() messageKind     { return unlessNil(m != nil, kindAppendEntries) }
func (m *AppendResponse) kind() messageKind    { return unlessNil(m != nil, kindAppendResponse) }
func (m *TimeoutNow) kind() messageKind        { return unlessNil(m != nil, kindTimeoutNow) }
func (m *ReadIndexRequest) kind() messageKind  { return unlessNil(m != nil, kindReadIndexRequest) }
func (m *ReadIndexResponse) kind() messageKind { return unlessNil(m != nil, kindReadIndexResponse) }

func unlessNil(present bool, kind messageKind) messageKind {
	if !present {
		return kindInvalid
	}
	return kind
}
