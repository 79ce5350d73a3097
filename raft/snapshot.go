package raft

// A log need not begin at index 1 (paper §7): what the state machine holds durably may be forgotten, up to a
// position, index and term, that is called before. A follower that still needs what was forgotten is sent a
// snapshot of the state machine in its place.
//
// The leader's half. A follower that rejects an append after before cannot have what this log has:
//
//	               its log ends below before                  Output.Snapshots
//	probe, replicate ------------------------>  snapshot  ------------------------> the caller sends one
//	   ^    ^                                    |  |  |
//	   |    |  it has all up to before           |  |  |
//	   |    +------------------------------------+  |  |
//	   |       SnapshotFailed, its connection broke |  |
//	   +--------------------------------------------+  |
//	   |       it has what was asked for, but the log was cut further
//	   +-----------------------------------------------+
//
// Heartbeats go on meanwhile, and ask for before, so that however the follower came by it, this is noticed. A
// snapshot is asked for on a follower's own word only, never for one that is silent.
//
// The follower's half: the caller receives the snapshot aside, restores the state machine from it, durably, and
// then calls Install. So the state machine is ahead of the log for a moment; a crash there leaves what E51
// describes, and New does what Install would have done. That is why the log needs to know nothing of snapshots, and
// the position may be acknowledged at once: what is at or below it is durable, though not in the log (E27).

// Compact forgets the entries at or below upTo, which the state machine must hold durably. It goes no further than
// what was reported as Applied and is durable in the log, and returns the position after which the log begins
// now: what the log's files may discard. Where a Restart is on its way to them, they do not know it yet.
func (r *Raft) Compact(upTo Index) Position {
	upTo = min(upTo, r.apply.applied, r.log.stable)
	if upTo > r.log.before.Index {
		r.log.discard(upTo)
	}
	return r.log.before
}

// needSnapshot asks the caller to send a follower a snapshot, once.
func (r *Raft) needSnapshot(p *progress) {
	r.counts.Snapshots++
	p.needsSnapshot(r.log.before.Index)
	r.out.snapshots = append(r.out.snapshots, SnapshotNeed{
		To: p.ID, FromLife: r.life, ToLife: p.Life, Term: r.hard.Term, AtLeast: p.wanted,
	})
}

// continueSnapshot looks whether a follower's answer shows that it has come by what it lacked. A rejection
// says nothing new: it may be older than a snapshot that is being installed.
func (r *Raft) continueSnapshot(from *progress, match Index) {
	switch {
	case match >= r.log.before.Index:
		from.replicate()
	case match >= from.wanted: // the log was cut above the snapshot while that was on its way
		r.endSnapshot(from)
	default:
		return
	}
	r.reign.due = true
}

// endSnapshot goes back to asking what the follower has. If that is too little still, it will say so.
func (r *Raft) endSnapshot(p *progress) { p.probe(r.log.before.Index+1, true) }

// SnapshotFailed says that the snapshot for a follower was not installed there, or that it is not known. The
// follower is asked again with the next heartbeat; where it answers that it still lacks entries, the need comes again.
func (r *Raft) SnapshotFailed(now Instant, to MemberID) {
	r.advance(now)
	p := r.peer(to)
	if p == nil || r.role != Leader || p.state != StateSnapshot {
		return
	}
	r.endSnapshot(p)
	p.probeSent = true // not at once, so that what fails each time costs little
}

// SnapshotOffered reports whether the snapshot is of use: it is from this term's leader, and above what is
// committed here; to a member that lost its state any is that reaches its log. It is a sign of life of that leader as an append is. It may be asked again while the snapshot
// arrives, and before it is restored.
//
// What was taken once stays good whoever leads then: it holds nothing but what was committed.
func (r *Raft) SnapshotOffered(now Instant, offer SnapshotOffer) bool {
	r.advance(now)
	if r.Mending() {
		return false
	}
	from := r.peer(offer.From)
	if from == nil {
		from = r.stranger(Member{offer.From, offer.FromLife}, &AppendEntries{})
	}
	if from == nil || from == r.self || offer.FromLife != from.Life || offer.ToLife != r.life || !offer.wellFormed() {
		r.counts.Dropped++
		return false
	}
	switch {
	case offer.Term < r.hard.Term:
		return false // the heartbeats of this former leader are answered with our term
	case offer.Term > r.hard.Term:
		r.become(Follower, offer.Term, 0)
	case r.role == Leader, r.leader != 0 && r.leader != from.ID:
		r.counts.Dropped++ // two leaders in one term: one of them lies
		return false
	}
	r.followLeader(from)
	return r.useful(offer.At)
}

// useful reports whether a state at a position is worth having.
func (r *Raft) useful(at Position) bool {
	return at.Index > r.commit || r.apply.lost && at.Index >= r.log.before.Index
}

// SnapshotRelayed is SnapshotOffered for a snapshot that another follower sends on the leader's behalf. That it comes says nothing of
// the leader: it may be dead by now, and must not be taken for alive (E10), nor is one who was not heard of believed to lead.
// later is set where this member has not heard of that leader in that term yet, so that the same may be of use soon.
func (r *Raft) SnapshotRelayed(now Instant, offer SnapshotOffer) (useful, later bool) {
	r.advance(now)
	if offer.ToLife != r.life || !offer.wellFormed() || offer.Term < r.hard.Term {
		r.counts.Dropped++
		return false, false
	}
	if from := r.peer(offer.From); offer.Term > r.hard.Term || r.role != Follower || r.leader != offer.From || from == nil || from.Life != offer.FromLife {
		return false, true
	}
	return r.useful(offer.At), false
}

// wellFormed checks what can be checked of an offer by itself.
func (o *SnapshotOffer) wellFormed() bool {
	return o.Term > 0 && o.Term < maxNumber && o.At.Index > 0 && o.At.Index < maxNumber &&
		o.At.Term > 0 && o.At.Term <= o.Term
}

// Install says that the state machine was restored from a snapshot at that position, one that SnapshotOffered had found of
// use, and is durable there. The caller has not restored a state older than what it had applied, and applies
// none of the entries at or below the position that it was handed before. Committed goes on above both.
//
//	the position is                       | the log
//	at or below the commit index          | stays; so does the commit index (E25, E28)
//	above, and the log holds it           | stays; what follows the position may be good
//	above, and the log does not reach it  | begins anew after it
//	above, and the log has another term   | begins anew after it (E26): nothing above it can be good
//
// In each case the leader is answered. Where the log begins anew the configuration that the snapshot covers is the one in force (E29); it
// is nil where no entry up to the position holds one. A member that lost its state goes on from the position, whichever row it is.
func (r *Raft) Install(now Instant, at Position, covered *ConfigurationAt) {
	r.advance(now)
	if at.Term > r.hard.Term {
		r.become(Follower, at.Term, 0)
	}
	if at.Index > r.commit {
		r.counts.Installed++
		r.installAbove(at, covered)
	} else if term, known := r.log.term(at.Index); known && term != at.Term {
		assert(false, "a snapshot at %d has term %d there, and term %d is committed", at.Index, at.Term, term)
	}
	if r.apply.lost {
		assert(at.Index >= r.log.before.Index, "a state of index %d was installed, and the log begins after %d", at.Index, r.log.before.Index)
		r.learnConfiguration(covered)
		r.regainState(at.Index)
	} else {
		r.apply.installed(at.Index)
	}
	r.evict()
	if r.role != Leader {
		// It is committed, so whoever leads in this term has it too.
		r.following.proven = max(r.following.proven, at.Index)
		r.following.answerDue = true
	}
}

// installAbove makes a position that is above the commit index committed.
func (r *Raft) installAbove(at Position, covered *ConfigurationAt) {
	switch {
	case r.role == Leader:
		assert(r.log.holds(at), "leader completeness: %d/t%d is committed, and not in the log of term %d's leader, which ends at %d",
			at.Index, at.Term, r.hard.Term, r.log.last)
		r.leadCommit(at.Index)
		return
	case !r.log.holds(at):
		// A campaign with a log that is no more is void.
		if r.role != Follower {
			r.become(Follower, r.hard.Term, 0)
		}
		r.log = newLog(at, nil, at.Index)
		r.durable.beginAnew(at)
		r.following.proven = min(r.following.proven, at.Index)
		r.restartMembership(covered)
	}
	r.commit = at.Index
	r.settleMembership()
}
