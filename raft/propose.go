package raft

import "fmt"

// Propose appends sealed proposals to a leader's log, in order. It takes as many as the bounds allow; the error
// says why the rest was refused, of which nothing was appended (E55). Entries that were accepted belong to
// the protocol from then on; the slice stays the caller's.
//
// An accepted proposal is not committed yet, and may never be: where this member loses its office first, the
// outcome is unknown until an entry at its index is committed, here or elsewhere (E47).
func (r *Raft) Propose(now Instant, entries []Entry) (Proposed, error) {
	r.advance(now)
	if r.role != Leader {
		return Proposed{}, &NotLeaderError{Leader: r.leader}
	}
	if r.reign.transfer.to != nil {
		return Proposed{}, ErrTransferring
	}
	accepted, bytes, err := r.admit(entries)
	proposed := Proposed{First: r.log.last + 1, Term: r.hard.Term, Accepted: accepted}
	if accepted > 0 {
		r.appendOwn(entries[:accepted], bytes)
	}
	return proposed, err
}

// admit returns how many of the entries may be appended, and why not more.
func (r *Raft) admit(entries []Entry) (accepted, bytes int, err error) {
	limits := &r.config.Limits
	for i, e := range entries {
		switch {
		case len(e) < EntryHeaderSize:
			return i, bytes, fmt.Errorf("%w: a proposal of %d bytes, a header has %d", ErrBadEntry, len(e), EntryHeaderSize)
		case e.Kind() == EntryConfiguration:
			return i, bytes, fmt.Errorf("%w: a configuration is proposed with ChangeMembers", ErrBadEntry)
		case len(e) > limits.EntryBytes:
			return i, bytes, fmt.Errorf("%w: %d bytes, the limit is %d (Limits.EntryBytes)", ErrTooLarge, len(e), limits.EntryBytes)
		case r.reign.uncommitted+bytes > 0 && r.reign.uncommitted+bytes+len(e) > limits.UncommittedBytes:
			return i, bytes, fmt.Errorf("%w: %d bytes wait for their commit, the limit is %d (Limits.UncommittedBytes)",
				ErrOverloaded, r.reign.uncommitted+bytes, limits.UncommittedBytes)
		}
		bytes += len(e)
	}
	return len(entries), bytes, nil
}
