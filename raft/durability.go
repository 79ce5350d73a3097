package raft

// Asynchronous durability. The protocol goes on while its writes are under way; what it may not say before a
// write is done stays inside until Persisted.
//
// Why an index is stable only once the latest write that touched it is done (E19): leader A of term 2 sends entry 5,
// and its write W1 begins. Leader C of term 3 replaces it: W2. Then A, leader again in term 4, sends what is the
// very entry 5 of term 2 once more: W3. Now W1 completes. Index and term match what the log holds, and yet W2 may
// still destroy it on the disk: only W3 vouches for it. So a completion is known by its sequence number, and:
//
//	stable = the last index below all writes that are not done, or not even begun
//
// which is exact, since a write replaces *all* from its first entry on, and writes are done in order.
//
// A write that makes the log begin anew (Write.Restart) replaces all above its position; what lies at or below that is
// in the state machine, and durable there. What older writes, still under way, put there is of no matter.

// durability is what is known of the writes that the protocol asked for.
type durability struct {
	lastSeq WriteSeq
	pending []pendingWrite // handed out and not done, in order
	// hardDirty: term or vote changed since the last write was handed out. hardSeq: the write that has them.
	hardDirty bool
	hardSeq   WriteSeq
	doneSeq   WriteSeq
	// held are messages that say, or follow from, a term or vote that is not durable (E01).
	held    []Envelope
	restart Position // to be told with the next write
}

// restartDue reports whether the log has to be told that it begins anew.
func (d *durability) restartDue() bool { return d.restart != Position{} }

// beginAnew notes that the log begins anew after at, which is durable in the state machine.
func (d *durability) beginAnew(at Position) {
	d.restart = at
	for i := range d.pending {
		if w := &d.pending[i]; w.first <= at.Index {
			w.first = at.Index + 1
		}
	}
}

type pendingWrite struct {
	seq   WriteSeq
	first Index // its first entry that the log still reaches down to, noEntries where it has none
	since Instant
}

// noEntries is above every index.
const noEntries = ^Index(0)

// hardDurable reports whether term and vote, as they are now, survive a crash.
func (d *durability) hardDurable() bool { return !d.hardDirty && d.doneSeq >= d.hardSeq }

// send addresses a message. Every message says by its term that this member has reached it, and most follow
// from its vote; so none leaves before both are durable. In the long run they are, and nothing waits. Entries
// and their acknowledgements have rules of their own.
func (r *Raft) send(to *progress, m Message) {
	if to.ID == r.config.Self {
		return // it was removed and has joined again; this is its former life
	}
	envelope := Envelope{
		Group: r.config.Group, From: r.config.Self, To: to.ID, FromLife: r.life, ToLife: to.Life, Message: m,
	}
	if r.durable.hardDurable() {
		r.out.messages = append(r.out.messages, envelope)
		return
	}
	// What waits here for a slow disk is bounded: the oldest are the ones that matter least by now.
	if d := &r.durable; len(d.held) < 8*len(r.peers)+8 {
		d.held = append(d.held, envelope)
	} else {
		copy(d.held, d.held[1:])
		d.held[len(d.held)-1] = envelope
	}
}

// broadcast sends a message to all others.
func (r *Raft) broadcast(m Message) {
	for _, p := range r.peers {
		if p != r.self {
			r.send(p, m)
		}
	}
}

// takeWrite returns what has to be made durable since the last call, nil where nothing has. Term and vote are
// in the same write as entries of that term, or in an earlier one: never after them (E03).
func (r *Raft) takeWrite() *Write {
	d := &r.durable
	first := r.log.writeFrom
	entries := r.log.takeUnwritten()
	if len(entries) == 0 {
		if !d.hardDirty && !d.restartDue() {
			return nil
		}
		first = noEntries
	}
	d.lastSeq++
	if d.hardDirty {
		d.hardDirty, d.hardSeq = false, d.lastSeq
	}
	d.pending = append(d.pending, pendingWrite{seq: d.lastSeq, first: first, since: r.now})
	w := &Write{Seq: d.lastSeq, HardState: r.hard, Commit: r.commit, Restart: d.restart, Entries: entries}
	d.restart = Position{}
	return w
}

// Persisted says that the writes up to seq are durable.
func (r *Raft) Persisted(now Instant, seq WriteSeq) {
	r.advance(now)
	d := &r.durable
	if seq > d.lastSeq {
		assert(false, "write %d is said to be durable, the last one is %d", seq, d.lastSeq)
	}
	if seq <= d.doneSeq {
		return
	}
	wasDurable := d.hardDurable()
	d.doneSeq = seq
	done := 0
	for done < len(d.pending) && d.pending[done].seq <= seq {
		done++
	}
	d.pending = d.pending[:copy(d.pending, d.pending[done:])]
	r.raiseStable()
	if !wasDurable && d.hardDurable() {
		r.hardStateDurable()
	}
}

// raiseStable applies the rule at the top of this file.
func (r *Raft) raiseStable() {
	stable := r.log.writeFrom - 1
	for _, w := range r.durable.pending {
		stable = min(stable, w.first-1)
	}
	if stable <= r.log.stable {
		return
	}
	r.log.setStable(stable)
	r.evict()
	r.settleDoubt()
	if r.role == Leader {
		r.raiseCommit()
	} else if r.provenMatch() > r.following.acknowledged {
		r.following.answerDue = true
	}
}

// hardStateDurable lets go what waited for term and vote. A candidate's own vote counts from here on.
func (r *Raft) hardStateDurable() {
	r.out.messages = append(r.out.messages, r.durable.held...)
	r.durable.held = nil
	if r.role == Candidate {
		r.self.ballot = granted
		r.decideVote()
	}
}

// diskStalled reports whether a write has taken longer than a leader may wait for its disk (E08).
func (r *Raft) diskStalled() bool {
	pending := r.durable.pending
	return len(pending) > 0 && r.now >= pending[0].since.Add(r.config.DiskStall)
}
