package raft

// output gathers what Output will give. Its slices alternate with those that the caller has.
type output struct {
	messages, spareMessages []Envelope
	fetches, spareFetches   []Fetch
	reads, spareReads       []ReadResult
	snapshots, spareNeeds   []SnapshotNeed
	reported                Leadership // the last one told
}

// HasOutput reports, cheaply, whether Output may have something to give.
func (r *Raft) HasOutput() bool {
	switch {
	case len(r.out.messages) > 0, len(r.out.fetches) > 0, len(r.out.reads) > 0, len(r.out.snapshots) > 0:
		return true
	case r.durable.hardDirty, r.durable.restartDue(), r.log.writeFrom <= r.log.last:
		return true
	case r.role == Leader && r.reign.due, r.role == Follower && r.leader != 0 && r.following.answerDue && r.durable.hardDurable():
		return true
	}
	return r.askDue() || r.handOutDue() || r.membershipDue() || r.leadership() != r.out.reported
}

// Output returns what is to be done, and forgets it. What one call returns may be carried out in any order and
// in parallel with itself and with earlier ones, save that Writes, and Committed entries, each keep their order.
func (r *Raft) Output() Output {
	r.replicate()
	r.answer()
	r.ask()
	committed := r.takeCommitted()
	o := Output{
		Messages:  r.out.messages,
		Write:     r.takeWrite(),
		Committed: committed,
		Fetches:   r.out.fetches,
		Snapshots: r.out.snapshots,
		Reads:     r.out.reads,
	}
	r.out.messages, r.out.spareMessages = reuse(r.out.spareMessages), r.out.messages
	r.out.fetches, r.out.spareFetches = reuse(r.out.spareFetches), r.out.fetches
	r.out.reads, r.out.spareReads = reuse(r.out.spareReads), r.out.reads
	r.out.snapshots, r.out.spareNeeds = reuse(r.out.spareNeeds), r.out.snapshots
	if now := r.leadership(); now != r.out.reported {
		r.out.reported = now
		o.Leadership = &Leadership{Role: now.Role, Term: now.Term, Leader: now.Leader} // &now would cost each call
	}
	if r.membershipDue() {
		o.Membership = r.tellMembership()
	}
	return o
}

func reuse[T any](slice []T) []T {
	clear(slice)
	return slice[:0]
}

func (r *Raft) leadership() Leadership {
	return Leadership{Role: r.role, Term: r.hard.Term, Leader: r.leader}
}
