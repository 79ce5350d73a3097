package wal

import (
	"errors"
	"fmt"
)

// replay reads a log forward, from the first segment that there is to where it stops, and changes nothing on the disk.
type replay struct {
	files
	identity Identity
	numbers  []uint64 // of the segment files, ascending
	copies   [2]*voteCopy
	badVotes [2]error

	groups  *groups
	end     Position // everything before it is sound
	stop    place    // what kind of place that is
	why     error    // what is wrong there
	badHead uint64   // the segment behind it whose head is not sound, and why
	whyHead error
	proof   proof // the highest mark
	used    int   // how many of the segments the log has got into

	lastRuns   []run // of the last batch, and where it is
	lastOffset int64
	lastMark   bool // it is a mark

	lost      []LostRun // what other records say that is not there
	nextSound Position  // the first sound record after the end
	written   Position  // the end of what is not zero, in the segment of end
	sealed    int64     // where that segment ends, as the next one's head says
	firstEnd  int64     // where the segment in front of the first one ended

	batches, entries, bytes uint64

	// mending: what is damaged below the highest mark, which is known, is passed over where it has a name. groups is nil where
	// only the damage matters.
	mending bool
	damage  damage
}

// proof is a mark and who made it.
type proof struct {
	mark Position
	by   string
}

// believe takes a mark into account.
func (r *replay) believe(mark Position, by func() string) {
	if r.proof.mark.Less(mark) {
		r.proof = proof{mark, by()}
	}
}

// run reads everything.
func (r *replay) run() error {
	for i, c := range r.copies {
		if c != nil {
			r.believe(c.mark, func() string { return r.path(voteNames[i]) })
		}
	}
	if len(r.numbers) == 0 {
		r.stop = placeEmpty
		return nil
	}
	for i, number := range r.numbers {
		more, err := r.segment(i, number)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := r.survey(); err != nil {
		return err
	}
	r.checkAbsent()
	return nil
}

// checkAbsent looks whether the segments in front of the first one may be missing: only if every entry in them was given up, or
// replaced. Where the replay did not come to the end, what says so may not have been read, and the end is what matters.
func (r *replay) checkAbsent() {
	lost := r.groups.absent()
	if len(lost) == 0 || r.stop != placeBody || r.end.Less(r.proof.mark) {
		return
	}
	missing := r.numbers[0] - 1
	r.stop, r.end, r.lost = placeGap, Position{missing, 0}, mergeLost(lost)
	r.why = fmt.Errorf("segment %d is missing: the file %s", missing, r.path(segmentName(missing)))
	r.badHead, r.written, r.nextSound, r.sealed = 0, r.end, Position{}, r.firstEnd
}

// segment replays one segment, and reports whether the next one may be replayed.
func (r *replay) segment(i int, number uint64) (more bool, err error) {
	w, err := r.window(number)
	if err != nil {
		return false, err
	}
	defer w.file.Close()
	if want := r.numbers[0] + uint64(i); number != want {
		r.stop, r.why = placeGap, fmt.Errorf("segment %d is missing: the file %s", want, r.path(segmentName(want)))
		r.end = Position{want, 0}
		return false, nil
	}
	h, err := w.readHead(number)
	if why := err; r.mending && errors.As(why, new(*unsound)) {
		if h, err = r.passHead(w, i == 0, number); h == nil && err == nil {
			err = why
		}
	}
	if errors.As(err, new(*unsound)) {
		if i == 0 {
			r.stop, r.end, r.why = placeFirstHead, Position{number, 0}, err
			r.believeRemoval(number)
		} else {
			r.badHead, r.whyHead = number, err
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if h.identity != r.identity {
		return false, &IdentityError{File: w.name, Want: r.identity, Got: h.identity}
	}
	r.believe(h.mark(), func() string { return "the head of " + w.name })
	if i == 0 {
		r.end, r.firstEnd = h.mark(), h.previousEnd
		r.groups.seed(h.groups)
	}
	if r.end.Less(h.mark()) {
		r.stop, r.why, r.sealed = placeBody, errNothing, h.previousEnd
		return false, nil
	}
	if h.mark().Less(r.end) {
		r.stop, r.why = placeContradiction, fmt.Errorf("the segment before it goes on to byte %d, its head says it ended at byte %d", r.end.Offset, h.previousEnd)
		r.end = Position{number, 0}
		return false, nil
	}
	if r.damage.statesLost {
		for _, c := range h.groups {
			r.adopt(number-1, c)
		}
	}
	if lost, err := r.groups.agree(h.groups); err != nil {
		r.stop, r.why, r.lost = placeContradiction, err, lost
		r.end = Position{number, 0}
		return false, nil
	}
	r.used, r.end = i+1, Position{number, h.size}
	r.lastRuns, r.lastOffset, r.lastMark = r.lastRuns[:0], 0, true
	return r.body(w)
}

// believeRemoval takes into account that the segments in front of the first one are not there: they are removed
// only when it has been durable for long.
func (r *replay) believeRemoval(first uint64) {
	if first > 1 {
		r.believe(Position{first, headFixed}, func() string { return fmt.Sprintf("the removal of segment %d", first-1) })
	}
}

// body replays the batches of a segment, and reports whether the next segment may be replayed.
func (r *replay) body(w *window) (more bool, err error) {
	var b batch
	salt := r.identity.salt(r.end.Segment)
	for {
		r.stop, r.why = placeBody, nil
		err := w.readBatch(&b, r.end, salt)
		passing := r.mending && r.end.Less(r.proof.mark)
		if errors.As(err, new(*unsound)) && passing {
			r.why = err
			if err = r.passPlace(w); err == nil {
				continue
			}
			if errors.Is(err, errNoPlace) {
				err = r.why
			}
		}
		if errors.Is(err, errNothing) {
			r.why = errNothing
			return true, nil
		}
		if err == nil {
			r.believe(b.mark, func() string { return fmt.Sprintf("the batch at byte %d of %s", b.at.Offset, w.name) })
			err = w.verify(&b)
			if errors.As(err, new(*unsound)) && passing {
				err = r.passFrames(w, &b)
			}
		}
		if errors.As(err, new(*unsound)) {
			r.why = err
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if r.groups == nil {
			r.end.Offset = b.end()
			continue
		}
		if err := r.groups.apply(&b); err != nil {
			r.stop, r.why = placeContradiction, err
			return false, nil
		}
		r.batches++
		r.entries += uint64(len(b.frames))
		r.bytes += uint64(b.size)
		r.end.Offset = b.end()
		if r.lastMark = b.isMark(); !r.lastMark {
			r.lastRuns = append(r.lastRuns[:0], b.runs[:min(len(b.runs), maxEcho)]...)
			r.lastOffset = b.at.Offset
		}
	}
}
