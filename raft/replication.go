package raft

// The leader's half of replication. Nothing is sent when something happens: events only take note of what
// is due, and Output then makes the messages, one per follower where possible. So whatever happened in one turn
// (proposals, acknowledgements, a commit, a read) shares its messages.

// reign is what a leader knows besides the followers' progress.
type reign struct {
	first Index // the no-op that began it
	due   bool  // there may be something to send
	// beatAt is when all followers are sent something; quorumAt when to check that a majority has answered.
	beatAt, quorumAt Instant
	uncommitted      int // bytes of entries above commit
	round            Round
	confirmed        Round // the largest round that a majority has echoed
	transfer         transfer
	abdicating       bool // the transfer is this leader's last act: it has no seat any more
}

// beginReign makes a new leader (paper §5.2, §8): all progress starts anew, and a no-op of the new term goes into the
// log, since entries of earlier terms can only be committed through one of this term (E12).
func (r *Raft) beginReign() {
	r.counts.Reigns++
	r.election.hint.leaderHeard()
	r.self.startReign(r.log.last, r.now)
	for _, p := range r.peers {
		p.startReign(r.log.last, r.now)
	}
	r.reign = reign{
		first:       r.log.last + 1,
		uncommitted: r.log.cache.size(r.commit+1, r.log.last+1),
		beatAt:      r.now.Add(r.config.HeartbeatInterval),
		quorumAt:    r.now.Add(r.config.ElectionTimeout),
	}
	r.reads.takeBack()
	r.appendOwn([]Entry{SealedEntry(EntryNoop, nil)}, EntryHeaderSize)
}

// endReign stops all of a leader's traffic, and forgets what only a leader knows (E07).
func (r *Raft) endReign() {
	r.reads.takeBack()
	for _, p := range r.peers {
		p.drop()
		p.question = question{}
	}
	r.out.snapshots = r.out.snapshots[:0]
	r.reign = reign{}
}

// appendOwn places entries at the end of a leader's log.
func (r *Raft) appendOwn(entries []Entry, bytes int) {
	index := r.log.last
	for _, e := range entries {
		index++
		e.place(r.config.Group, index, r.hard.Term)
	}
	r.log.appendOwn(entries, r.hard.Term, bytes)
	r.reign.uncommitted += bytes
	r.reign.due = true
}

// tickReign sends heartbeats, and gives up an office that cannot be held: without a majority (E07), or without a disk (E08).
func (r *Raft) tickReign() {
	if r.now >= r.reign.quorumAt && !r.hearsMajority() || !r.members.alone && r.diskStalled() {
		r.counts.StepDowns++
		r.become(Follower, r.hard.Term, 0)
		return
	}
	r.tickTransfer()
	if r.role != Leader || r.now < r.reign.beatAt {
		return
	}
	r.reign.beatAt = r.now.Add(r.config.HeartbeatInterval)
	r.reign.due = true
	r.dropParted()
	r.self.beatDue = true
	for _, p := range r.peers {
		p.beatDue = true
	}
	r.watchLearners()
}

// hearsMajority reports whether a majority was heard within the election timeout, and sets the next check for
// when that can be wrong at the earliest.
func (r *Raft) hearsMajority() bool {
	r.self.heard = r.now
	heard := agreed(r.peers, r.members.joint, func(p *progress) Instant { return p.heard })
	r.reign.quorumAt = heard.Add(r.config.ElectionTimeout)
	return r.now < r.reign.quorumAt
}

// replicate makes the messages that are due.
func (r *Raft) replicate() {
	if r.role != Leader || !r.reign.due {
		return
	}
	r.reign.due = false
	r.beginRound()
	r.self.beatDue = false
	for _, p := range r.peers {
		if p == r.self {
			continue
		}
		if p.state != StateSnapshot && p.next <= r.log.before.Index {
			// The log was cut while this follower was behind. Whether it needs a snapshot its answer tells, if
			// it is alive.
			p.probe(r.log.before.Index+1, true)
		}
		sent := false
		switch p.state {
		case StateProbe:
			sent = r.sendProbe(p)
		case StateReplicate:
			sent = r.sendWindow(p)
		}
		if !sent && r.bareDue(p) {
			r.sendBare(p)
		}
		p.beatDue = false
	}
}

// bareDue reports whether the follower must be sent an append though there are no entries for it: a heartbeat,
// a round of confirmation, or the commit index. A follower with entries on their way is not told the commit index at
// once: its acknowledgement is due, and the next entries will carry it. So a busy group spends no message on it, and an
// idle one does not wait for a heartbeat.
func (r *Raft) bareDue(p *progress) bool {
	return p.beatDue || r.reign.round > p.roundSent ||
		p.state == StateReplicate && p.inflight.empty() && min(r.commit, p.next-1) > p.commitSent
}

// sendBare sends an append without entries. It obeys the same consistency check as all appends, at next-1, so
// that it also finds out that earlier entries were lost on the way (E15). A follower that needs a snapshot is asked
// for the place where this log begins: once it agrees there, it needs none any more.
func (r *Raft) sendBare(p *progress) {
	prev := p.next - 1
	if p.state == StateSnapshot {
		prev = r.log.before.Index
	}
	r.sendAppend(p, prev, nil)
}

// sendAppend sends the entries after prev, an index whose term the log knows.
func (r *Raft) sendAppend(p *progress, prev Index, entries []Entry) {
	term, _ := r.log.term(prev)
	p.roundSent = r.reign.round
	p.commitSent = max(p.commitSent, min(r.commit, prev+Index(len(entries))))
	r.send(p, &AppendEntries{
		Term: r.hard.Term, Prev: Position{prev, term}, Commit: r.commit, Round: r.reign.round, Entries: entries,
	})
}

// sendProbe sends one append to find out whether the logs agree at next-1. It carries entries where that is likely.
func (r *Raft) sendProbe(p *progress) bool {
	if p.probeSent && !p.beatDue {
		return false
	}
	p.probeSent = true
	p.probed = sent{}
	var entries []Entry
	if !p.blind && r.log.cache.has(p.next) {
		high, bytes := r.log.cache.fit(p.next, r.log.last+1, r.config.Limits.MessageBytes)
		entries = r.log.cache.slice(p.next, high)
		p.probed = sent{last: high - 1, bytes: bytes}
	}
	r.sendAppend(p, p.next-1, entries)
	return true
}

// sendWindow sends what the window has room for.
func (r *Raft) sendWindow(p *progress) bool {
	sent := false
	for p.next <= r.log.last && !p.inflight.full(&r.config.Limits) {
		entries, bytes := r.entriesFor(p)
		if len(entries) == 0 {
			break
		}
		r.sendAppend(p, p.next-1, entries)
		p.next += Index(len(entries))
		p.inflight.add(p.next-1, bytes)
		sent = true
	}
	return sent
}

// entriesFor returns the next entries for a follower: from the cache, or from what was read for it. Where
// there are none it asks for them to be read.
func (r *Raft) entriesFor(p *progress) (entries []Entry, bytes int) {
	if r.log.cache.has(p.next) {
		p.fetched = nil
		high, bytes := r.log.cache.fit(p.next, r.log.last+1, r.config.Limits.MessageBytes)
		return r.log.cache.slice(p.next, high), bytes
	}
	for len(p.fetched) > 0 && p.fetched[0].Index() < p.next {
		p.fetched = p.fetched[1:]
	}
	if len(p.fetched) > 0 {
		entries, p.fetched = p.fetched, nil
		for _, e := range entries {
			bytes += len(e)
		}
		return entries, bytes
	}
	if !p.fetching {
		p.fetching = true
		r.out.fetches = append(r.out.fetches, Fetch{
			For: p.ID, Low: p.next, High: r.log.cache.first, MaxBytes: r.config.Limits.MessageBytes,
		})
	}
	return nil, 0
}

// onAppendResponse learns from an answer how far the follower's log agrees.
func (r *Raft) onAppendResponse(from *progress, m Message) {
	response := m.(*AppendResponse)
	if response.Match > r.log.last || response.Round > r.reign.round {
		r.counts.Dropped++ // nobody can have what was never sent
		return
	}
	from.heard = r.now
	if response.Round > from.round {
		from.round = response.Round
		r.confirmReads()
	}
	news := from.raiseMatch(response.Match)
	switch {
	case from.state == StateSnapshot:
		r.continueSnapshot(from, response.Match)
	case response.Rejected:
		r.onRejection(from, response)
	case from.state != StateReplicate && response.Match+1 >= from.next:
		from.replicate()
		r.reign.due = true
	}
	if news {
		r.reign.due = true
		r.raiseCommit()
		r.continueTransfer()
	}
}

// restartSearch goes back to looking for the common point, after what was under way may have been lost.
func (r *Raft) restartSearch(p *progress) {
	switch p.state {
	case StateProbe:
		p.probeSent = false
	case StateReplicate:
		p.probe(p.match+1, false)
	case StateSnapshot:
		r.endSnapshot(p)
	}
}

// onRejection lowers next (never match, E17) to where the logs may agree. Each of the two sides skips whole terms:
// the follower those above the leader's term at Prev, here those above the follower's at Conflict (E18).
func (r *Raft) onRejection(from *progress, response *AppendResponse) {
	prev := response.Prev
	switch {
	case prev <= from.match, prev >= from.next: // late: that place has been found to agree, or was never asked about
		return
	case from.state == StateProbe && prev != from.next-1: // late: the search has moved on
		return
	}
	r.counts.Rejections++
	r.reign.due = true
	upTo := min(response.Conflict.Index, prev-1)
	if upTo < r.log.before.Index {
		r.needSnapshot(from)
		return
	}
	guess := r.log.lastNotAbove(upTo, response.Conflict.Term)
	// Where the guess is the very place that the follower named, the logs agree there.
	from.probe(guess.Index+1, guess != response.Conflict)
}
