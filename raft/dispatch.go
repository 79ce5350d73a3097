package raft

// Dispatch: a message is checked, its term compared with ours, and then handled by role and kind.

type handler func(r *Raft, from *progress, m Message)

// handlers says who handles what. What has no handler is of no use to the role: an answer to a question that this
// member does not ask any more, or a claim that cannot be (a second leader in one term).
var handlers = [roleCount][kindCount]handler{
	Follower: {
		kindPreVoteRequest:    (*Raft).onPreVoteRequest,
		kindRequestVote:       (*Raft).onRequestVote,
		kindAppendEntries:     (*Raft).onAppendEntries,
		kindTimeoutNow:        (*Raft).onTimeoutNow,
		kindReadIndexResponse: (*Raft).onReadIndexResponse,
	},
	PreCandidate: {
		kindPreVoteRequest:  (*Raft).onPreVoteRequest,
		kindPreVoteResponse: (*Raft).onPreVoteResponse,
		kindRequestVote:     (*Raft).onRequestVote,
		kindAppendEntries:   (*Raft).onAppendEntries,
	},
	Candidate: {
		kindPreVoteRequest: (*Raft).onPreVoteRequest,
		kindRequestVote:    (*Raft).onRequestVote,
		kindVoteResponse:   (*Raft).onVoteResponse,
		kindAppendEntries:  (*Raft).onAppendEntries,
	},
	Leader: {
		kindPreVoteRequest:   (*Raft).onPreVoteRequest,
		kindRequestVote:      (*Raft).onRequestVote,
		kindAppendResponse:   (*Raft).onAppendResponse,
		kindReadIndexRequest: (*Raft).onReadIndexRequest,
	},
}

// Receive takes a message from another member. It never panics, whatever the message holds: what is not
// addressed to this member in this life, or is malformed, is dropped and counted.
func (r *Raft) Receive(now Instant, e Envelope) {
	r.advance(now)
	from := r.sender(&e)
	if from == nil || r.Mending() || !r.wellFormed(e.Message) {
		r.counts.Dropped++
		return
	}
	if !r.settleTerm(from, e.Message) {
		return
	}
	if handle := handlers[r.role][e.Message.kind()]; handle != nil {
		handle(r, from, e.Message)
	}
}

// sender returns who sent the message, nil where its addresses are not those of two living members of this group (E20). Who has no
// seat here may have one in a configuration that this member does not know yet: what asks for a vote, or to be followed, is
// heard from anybody but those who were removed.
func (r *Raft) sender(e *Envelope) *progress {
	if e.Group != r.config.Group || e.To != r.config.Self || e.ToLife != r.life {
		return nil
	}
	p := r.peer(e.From)
	if p == nil {
		p = r.stranger(Member{e.From, e.FromLife}, e.Message)
	}
	if p == nil || p == r.self || p.Life != e.FromLife || p.parting > 0 && r.hasLeft(p.ID) && asksForVote(e.Message) {
		return nil
	}
	return p
}

func asksForVote(m Message) bool {
	return m != nil && (m.kind() == kindPreVoteRequest || m.kind() == kindRequestVote)
}

// hasLeft reports whether a member was removed for certain. Until that is committed it may hold what the others need (E35).
func (r *Raft) hasLeft(id MemberID) bool {
	current := r.members.current()
	return current.Index <= r.commit && current.WasRemoved(id)
}

// stranger returns a member that has no seat here, nil where it is not to be heard. A leader that has appended its own removal is,
// until somebody else leads.
func (r *Raft) stranger(m Member, message Message) *progress {
	if p := r.following.leader; p != nil && p.Member == m && r.leader == m.ID {
		return p
	}
	if m.ID == 0 || m.ID == r.config.Self || message == nil || r.hasLeft(m.ID) {
		return nil
	}
	switch message.kind() {
	case kindPreVoteRequest, kindRequestVote, kindAppendEntries:
		return &progress{Member: m}
	}
	return nil
}

// maxNumber bounds terms and indexes from outside, far above what is ever reached, so that sums do not overflow.
const maxNumber = 1 << 62

// wellFormed checks what can be checked of a message by itself.
func (r *Raft) wellFormed(m Message) bool {
	if m == nil || m.kind() == kindInvalid || m.SenderTerm() == 0 && m.kind() != kindPreVoteRequest && m.kind() != kindPreVoteResponse {
		return false
	}
	if m.SenderTerm() >= maxNumber {
		return false
	}
	switch m := m.(type) {
	case *PreVoteRequest:
		return m.NextTerm < maxNumber
	case *AppendEntries:
		return r.wellFormedAppend(m)
	}
	return true
}

// wellFormedAppend checks that the entries are this group's, follow Prev without a gap, and that their terms
// never go back nor exceed the leader's.
func (r *Raft) wellFormedAppend(m *AppendEntries) bool {
	if m.Prev.Index >= maxNumber || m.Prev.Term > m.Term {
		return false
	}
	previous := m.Prev
	for _, e := range m.Entries {
		if len(e) < EntryHeaderSize || e.Group() != r.config.Group {
			return false
		}
		at := e.Position()
		if at.Index != previous.Index+1 || at.Term < previous.Term || at.Term > m.Term {
			return false
		}
		if e.Kind() == EntryConfiguration {
			if c, err := DecodeConfiguration(e.Payload()); err != nil || c.checkLevel(r.config.Level) != nil {
				return false
			}
		}
		previous = at
	}
	return true
}

// settleTerm compares the message's term with ours, and reports whether the message is to be handled.
//
//	message                | lower term                | higher term
//	PreVoteRequest         | handled                   | handled: a question is not a claim, no term changes
//	PreVoteResponse        | handled: who is behind in | adopted
//	                       | terms may promise a vote  |
//	RequestVote            | refused, with our term    | ignored where content with our leader, unless it is a transfer; else adopted
//	AppendEntries          | answered with our term    | adopted
//	any other              | ignored                   | adopted
func (r *Raft) settleTerm(from *progress, m Message) bool {
	term := m.SenderTerm()
	switch {
	case term == r.hard.Term || m.kind() == kindPreVoteRequest:
		return true
	case term < r.hard.Term:
		switch m.kind() {
		case kindRequestVote:
			r.send(from, &VoteResponse{Term: r.hard.Term})
		case kindAppendEntries: // a former leader, which learns of our term by this
			r.send(from, &AppendResponse{Term: r.hard.Term, Last: r.log.last})
		}
		return m.kind() == kindPreVoteResponse
	}
	if request, ok := m.(*RequestVote); ok && !request.Transfer && r.sticky() {
		return false
	}
	r.become(Follower, term, 0)
	return true
}
