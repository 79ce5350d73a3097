package raft

// Linearizable reads without the log (dissertation §6.4). A read may be served from the state at index, once
//
//   - index is at least what was committed when the read was registered. A leader knows that only after it has
//     committed an entry of its own term; until then reads wait (E38);
//   - the leader was still the leader at some moment after that. It makes up a new round number, which every
//     append carries and every answer echoes; a majority that echoes it has answered a message that was sent
//     after the read was registered. A late answer has a smaller number and confirms nothing (E39).
//
// All reads that wait share the next round, and there is one round at a time: while it is under way the next batch
// gathers. A follower does likewise: one ReadIndexRequest at a time, for all that wait.
//
// A read has no effect, so it survives a change of leader: it waits again. It fails after an election timeout.

type read struct {
	id    ReadID
	since Instant
}

// reads are those that were registered here. On a leader asked are in rounds, on a follower in a request.
type reads struct {
	waiting []read // in order of registration, all later than those in asked
	asked   []read
	rounds  []readRound // a leader's, in order: how asked is divided

	lastAsked ReadID // a follower's requests; begins at random, so that no earlier life used it
	asking    bool
	// askAgain is when the request is sent (again): it, or its answer, may have been lost.
	askAgain Instant
}

// readRound is one round of confirmation with its reads: the next count in asked.
type readRound struct {
	round Round
	index Index
	count int
}

// Read asks for an index that a linearizable read may be served at. Output.Reads answers each exactly once.
func (r *Raft) Read(now Instant, id ReadID) {
	r.advance(now)
	q := &r.reads
	if len(q.waiting)+len(q.asked) >= r.config.Limits.Reads {
		r.out.reads = append(r.out.reads, ReadResult{ID: id, Err: ErrOverloaded})
		return
	}
	q.waiting = append(q.waiting, read{id, r.now})
	if r.role == Leader {
		r.settleReads()
	}
}

// settleReads lets a leader go on with what waits: alone it needs no confirmation, else a round begins.
func (r *Raft) settleReads() {
	if !r.members.alone {
		r.reign.due = true
		return
	}
	if r.ownTermCommitted() {
		r.answerReads(&r.reads.waiting, len(r.reads.waiting), r.commit)
	}
}

func (r *Raft) answerReads(from *[]read, count int, index Index) {
	for _, read := range (*from)[:count] {
		r.out.reads = append(r.out.reads, ReadResult{ID: read.id, Index: index})
	}
	*from = (*from)[:copy(*from, (*from)[count:])]
}

// takeBack makes all reads wait again: this member has begun or ceased to lead, or to follow someone.
func (q *reads) takeBack() {
	q.waiting = append(q.asked, q.waiting...)
	q.asked, q.rounds, q.asking = nil, nil, false
}

// beginRound begins a round of confirmation, if reads wait for one and none is under way.
func (r *Raft) beginRound() {
	if !r.ownTermCommitted() || r.reign.confirmed < r.reign.round && !r.self.beatDue {
		return
	}
	wanted := len(r.reads.waiting)
	for _, p := range r.peers {
		if p.question.open && p.question.round == 0 {
			wanted++
		}
	}
	if wanted == 0 {
		return
	}
	r.reign.round++
	if q := &r.reads; len(q.waiting) > 0 {
		q.rounds = append(q.rounds, readRound{round: r.reign.round, index: r.commit, count: len(q.waiting)})
		q.asked = append(q.asked, q.waiting...)
		q.waiting = q.waiting[:0]
	}
	for _, p := range r.peers {
		if p.question.open && p.question.round == 0 {
			p.question.round, p.question.index = r.reign.round, r.commit
		}
	}
}

// confirmReads answers the reads of all rounds that a majority has echoed.
func (r *Raft) confirmReads() {
	r.self.round = r.reign.round
	confirmed := agreed(r.peers, r.members.joint, func(p *progress) Round { return p.round })
	if confirmed <= r.reign.confirmed {
		return
	}
	r.reign.confirmed = confirmed
	r.reign.due = true // the next round may begin
	q := &r.reads
	for len(q.rounds) > 0 && q.rounds[0].round <= confirmed {
		r.answerReads(&q.asked, q.rounds[0].count, q.rounds[0].index)
		q.rounds = q.rounds[:copy(q.rounds, q.rounds[1:])]
	}
	for _, p := range r.peers {
		if p.question.open && p.question.round > 0 && p.question.round <= confirmed {
			p.question.open = false
			r.send(p, &ReadIndexResponse{Term: r.hard.Term, ID: p.question.id, Index: p.question.index})
		}
	}
}

// onReadIndexRequest registers a follower's reads. Asked again with the same id, the question keeps its place.
func (r *Raft) onReadIndexRequest(from *progress, m Message) {
	request := m.(*ReadIndexRequest)
	from.heard = r.now
	if from.question.open && from.question.id == request.ID {
		return
	}
	from.question = question{id: request.ID, open: true}
	r.reign.due = true
}

// ask sends a follower's question to its leader, where one is due.
func (r *Raft) ask() {
	q := &r.reads
	if !r.askDue() {
		return
	}
	if !q.asking {
		q.lastAsked++
		q.asking = true
		q.asked = append(q.asked, q.waiting...)
		q.waiting = q.waiting[:0]
	}
	q.askAgain = r.now.Add(r.config.HeartbeatInterval)
	r.send(r.following.leader, &ReadIndexRequest{Term: r.hard.Term, ID: q.lastAsked})
}

// askDue reports whether a follower has a question to send.
func (r *Raft) askDue() bool {
	if r.role != Follower || r.leader == 0 {
		return false
	}
	if r.reads.asking {
		return r.now >= r.reads.askAgain
	}
	return len(r.reads.waiting) > 0
}

// onReadIndexResponse answers the reads of the question that is open; another question's answer says nothing.
func (r *Raft) onReadIndexResponse(from *progress, m Message) {
	response := m.(*ReadIndexResponse)
	q := &r.reads
	if from.ID != r.leader || !q.asking || response.ID != q.lastAsked {
		return
	}
	q.asking = false
	r.answerReads(&q.asked, len(q.asked), response.Index)
}

// oldestRead returns when the oldest read was registered; ok is false where there is none.
func (q *reads) oldestRead() (since Instant, ok bool) {
	switch {
	case len(q.asked) > 0:
		return q.asked[0].since, true
	case len(q.waiting) > 0:
		return q.waiting[0].since, true
	}
	return 0, false
}

// tickReads fails the reads that have waited for an election timeout.
func (r *Raft) tickReads() {
	q := &r.reads
	since, ok := q.oldestRead()
	if !ok || r.now < since.Add(r.config.ElectionTimeout) {
		return
	}
	q.takeBack()
	expired := 0
	for expired < len(q.waiting) && r.now >= q.waiting[expired].since.Add(r.config.ElectionTimeout) {
		r.out.reads = append(r.out.reads, ReadResult{ID: q.waiting[expired].id, Err: ErrNoLeader})
		expired++
	}
	q.waiting = q.waiting[:copy(q.waiting, q.waiting[expired:])]
	r.reign.due = r.role == Leader // those that are left need a new round
}
