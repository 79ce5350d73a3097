package wal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/balsadb/balsa/raft"
)

// wound is a batch that was durable and is damaged, and what is known of what it held. It is healed where it is: what is
// missing is written to its old place, so that a power cut on the way leaves a wound that is found again.
//
//	the header is sound   each frame is known by its size and checksum; those that are bad are written, one by one
//	it is not             its runs are known by name. The whole batch is written anew once all frames are there, with a header that
//	                      has the states that are known otherwise, and is as long as the place needs
type wound struct {
	at     Position
	salt   uint32 // of its segment
	size   int64
	header int64 // its size: what is not frames, or padding
	sound  bool
	states []state // that it must have had, where the header is not sound: a later head, or the votes, say so
	runs   []run
	frames []frame
	// missing says which frames are; where the header is not sound, entries are the others.
	missing []bool
	entries []raft.Entry
	left    int // how many are missing
}

// damage is all that a replay passed over.
type damage struct {
	wounds []*wound
	heads  []*head // of segments, as they should be; their size is that of the place
	// statesLost: a header was passed over that may have had terms, votes, floors or restarts.
	statesLost bool
}

// end is where the next batch begins.
func (v *wound) end() int64 { return v.at.Offset + v.size }

// each visits the frames with their runs and places.
func (v *wound) each(visit func(r run, i int, index raft.Index, offset int64)) {
	next, offset := 0, v.at.Offset+v.header
	for _, r := range v.runs {
		for i := range int(r.count) {
			visit(r, next, r.first+raft.Index(i), offset)
			offset += int64(v.frames[next].size)
			next++
		}
	}
}

// woundOf makes a wound of a batch whose header is sound; body are its frames. Configurations in sound ones are kept.
func woundOf(b *batch, salt uint32, body []byte) *wound {
	v := &wound{
		at: b.at, salt: salt, size: b.size, header: b.header, sound: true,
		runs: append([]run(nil), b.runs...), frames: append([]frame(nil), b.frames...), missing: make([]bool, len(b.frames)),
	}
	next := 0
	b.configurations = nil
	_ = b.eachFrame(body, func(_ run, _ int, _ int64, e raft.Entry, bad error) error {
		if bad != nil {
			v.missing[next], v.left = true, v.left+1
		} else if e.Kind() == raft.EntryConfiguration {
			b.configurations = append(b.configurations, bytes.Clone(e))
		}
		next++
		return nil
	})
	return v
}

// named makes a wound of a place whose header is not sound, and takes what sound frames there are. place are its bytes.
func named(at Position, salt uint32, runs []run, place []byte) (*wound, error) {
	v := &wound{at: at, salt: salt, size: int64(len(place)), runs: runs}
	total, count, smallest := int64(0), 0, int64(batchFixed)
	for _, r := range runs {
		total, count, smallest = total+int64(r.bytes), count+int(r.count), smallest+runSize+int64(r.count)*frameSize
	}
	if v.header = v.size - total; v.header < smallest || count > maxWoundFrames {
		return nil, fmt.Errorf("%d entries of %d bytes do not fit into the %d bytes at %v", count, total, v.size, at)
	}
	v.frames, v.missing, v.entries, v.left = make([]frame, count), make([]bool, count), make([]raft.Entry, count), count
	for i := range v.missing {
		v.missing[i] = true
	}
	for padding := int64(0); padding < alignment && count > 0; padding++ {
		if v.salvage(place[v.header-padding:]) {
			v.header -= padding
			return v, nil
		}
	}
	return v, nil
}

// maxWoundFrames bounds what a name can claim; a batch has 16 MiB.
const maxWoundFrames = maxBatchBytes / raft.EntryHeaderSize

// salvage takes the sound frames that begin at body, and reports whether there are any: where the first is bad, so may be
// the place where it was looked for.
func (v *wound) salvage(body []byte) bool {
	next := 0
	for _, r := range v.runs {
		rest := body[:r.bytes]
		body = body[r.bytes:]
		at := next
		next += int(r.count)
		for i := range int(r.count) {
			e, after, err := raft.CutEntry(rest)
			if err != nil || e.Check() != nil || e.Group() != r.group || e.Index() != r.first+raft.Index(i) || e.Term() != r.term {
				break // what follows it cannot be found
			}
			v.keep(at+i, bytes.Clone(e))
			rest = after
		}
	}
	return v.left < len(v.missing)
}

// keep takes a frame of a batch without a sound header.
func (v *wound) keep(i int, e raft.Entry) {
	v.entries[i], v.frames[i] = e, frame{uint32(len(e)), e.HeadCRC()}
	v.missing[i], v.left = false, v.left-1
}

// offer takes an entry that fills a gap, and returns what is to be written for it, and where; nothing where more is missing.
func (v *wound) offer(e raft.Entry) (b []byte, offset int64) {
	v.each(func(r run, i int, index raft.Index, at int64) {
		if !v.missing[i] || index != e.Index() || r.term != e.Term() || r.group != e.Group() {
			return
		}
		switch {
		case !v.sound:
			if v.keep(i, e); v.left > 0 {
				return
			}
			if b, offset = v.whole(), v.at.Offset; b == nil {
				v.forget()
			}
		case v.frames[i] == frame{uint32(len(e)), e.HeadCRC()}:
			v.missing[i], v.left = false, v.left-1
			b, offset = e, at
		}
	})
	return b, offset
}

// whole encodes the batch anew, once nothing is missing; nil where the entries are not those of the name.
func (v *wound) whole() []byte {
	next := 0
	for _, r := range v.runs {
		bytes := uint64(0)
		for range r.count {
			bytes += uint64(v.frames[next].size)
			next++
		}
		if bytes != r.bytes {
			return nil
		}
	}
	b := batch{at: v.at, size: v.size, states: v.states, runs: v.runs, frames: v.frames}
	out := make([]byte, 0, v.size)
	if out = b.appendHeader(out, v.salt); int64(len(out)) > v.header {
		return nil
	}
	out = append(out, make([]byte, v.header-int64(len(out)))...) // a header may be longer than it needs to be
	seal(out, magicBatch, v.salt, b.features())
	for _, e := range v.entries {
		out = append(out, e...)
	}
	return append(out, make([]byte, v.size-int64(len(out)))...)
}

// forget takes nothing for granted of what was gathered: it does not fit together.
func (v *wound) forget() {
	v.left = len(v.missing)
	for i := range v.missing {
		v.missing[i], v.entries[i] = true, nil
	}
}

// passFrames takes a batch whose header is sound and whose frames are not all, where the replay may go on behind damage.
func (r *replay) passFrames(w *window, b *batch) error {
	body, err := w.body(b)
	if err != nil {
		return err
	}
	r.damage.wounds = append(r.damage.wounds, woundOf(b, r.identity.salt(b.at.Segment), body))
	return nil
}

// errNameless says that what a place held is not known.
var errNameless = errors.New("what was there has no name")

// errNoPlace says that nothing follows a place where no sound header is.
var errNoPlace = errors.New("nothing follows")

// passPlace goes on behind a place where no sound header is, with what others say that it held. Where it cannot the error is
// errNoPlace, or an *unsound that says why.
func (r *replay) passPlace(w *window) error {
	at := r.end
	next, end, err := r.nextBatch(w, at)
	if err != nil {
		return err
	}
	if end <= at.Offset {
		return errNoPlace
	}
	starts, runs, err := r.namesOf(at, end, next)
	if err != nil {
		return err
	}
	for i, start := range starts {
		until := end
		if i+1 < len(starts) {
			until = starts[i+1]
		}
		place, err := w.bytes(start, until-start)
		if err != nil {
			return err
		}
		v, err := named(Position{at.Segment, start}, r.identity.salt(at.Segment), runs[i], place)
		if err == nil {
			err = r.applyNamed(v)
		}
		if err != nil {
			return &unsound{err}
		}
		r.damage.wounds = append(r.damage.wounds, v)
		if r.lastMark = len(v.runs) == 0; !r.lastMark {
			r.lastRuns, r.lastOffset = append(r.lastRuns[:0], v.runs[:min(len(v.runs), maxEcho)]...), start
		}
	}
	r.damage.statesLost = true
	r.end.Offset = end
	return nil
}

// nextBatch returns the next sound batch of the segment, nil where there is none, and where the place in front of it ends.
func (r *replay) nextBatch(w *window, at Position) (next *batch, end int64, err error) {
	_, err = w.searchBatches(at.Segment, at.Offset, r.identity.salt(at.Segment), func(b *batch) bool {
		found := *b
		next = &found
		return false
	})
	if err != nil {
		return nil, 0, err
	}
	if next != nil {
		return next, next.at.Offset, nil
	}
	following, err := r.files.window(at.Segment + 1)
	if err != nil {
		return nil, 0, nil // there is none: nothing says where the place ends
	}
	defer following.file.Close()
	h, err := following.readHead(at.Segment + 1)
	if errors.As(err, new(*unsound)) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return nil, min(h.previousEnd, w.size), nil
}

// namesOf says which batches a place held, and their runs. Marks have none, and need none.
func (r *replay) namesOf(at Position, end int64, next *batch) (starts []int64, runs [][]run, err error) {
	starts, runs = []int64{at.Offset}, [][]run{nil}
	d, err := r.readDirectory(at.Segment, r.identity)
	if err != nil && !errors.As(err, new(*unsound)) {
		return nil, nil, err
	}
	switch {
	case d != nil && d.end >= end:
		for _, v := range d.runs {
			if v.batch < at.Offset || v.batch >= end {
				continue
			}
			if v.batch != starts[len(starts)-1] {
				starts, runs = append(starts, v.batch), append(runs, nil)
			}
			last := len(runs) - 1
			runs[last] = append(runs[last], v.run)
		}
		return starts, runs, nil
	case next == nil, next.echoOffset == 0, next.echoOffset > at.Offset, len(next.echo) == maxEcho:
		return nil, nil, &unsound{errNameless}
	case next.echoOffset == at.Offset:
		runs[0] = append(runs[0], next.echo...)
	}
	return starts, runs, nil // or the last batch that is no mark was before the place
}

// applyNamed takes what a place held into account.
func (r *replay) applyNamed(v *wound) error {
	if r.groups == nil {
		return nil
	}
	next, at := 0, v.at.Offset+v.header
	for _, run := range v.runs {
		g := r.groups.get(run.group)
		if err := g.follows(run); err != nil {
			return err
		}
		frames := v.frames[next : next+int(run.count)]
		if v.left == 0 {
			g.append(run, frames, Position{v.at.Segment, at})
		} else {
			g.append(run, []frame{{size: uint32(run.bytes)}}, Position{v.at.Segment, at})
		}
		next += int(run.count)
		at += int64(run.bytes)
	}
	for _, e := range v.entries {
		if e != nil && e.Kind() == raft.EntryConfiguration {
			g := r.groups.get(e.Group())
			g.configurations = append(g.configurations, e)
		}
	}
	return nil
}

// passHead makes the head of a segment anew, from what the segments before it came to, where it can only have been that. It
// returns nil where that is not so.
func (r *replay) passHead(w *window, first bool, number uint64) (*head, error) {
	if first && number != 1 {
		return nil, nil // what its groups were at is nowhere else
	}
	h := &head{identity: r.identity, segment: number, groups: r.groups.checkpoints()}
	if !first {
		h.previousEnd = r.end.Offset
	}
	var begin *batch
	_, err := w.searchBatches(number, headFixed, r.identity.salt(number), func(b *batch) bool {
		found := *b
		begin = &found
		return false
	})
	// The first batch of a segment says so: nothing is echoed, and it was durable up to there.
	if err != nil || begin == nil || begin.echoOffset != 0 || begin.mark != begin.at || begin.at.Offset < align(headSize(len(h.groups))) {
		return nil, err
	}
	h.size, h.sizeOnDisk = begin.at.Offset, begin.at.Offset
	r.damage.heads = append(r.damage.heads, h)
	return h, nil
}

// isolate gives each missing frame of a wound a span of its own, so that who reads its neighbours need not walk over it.
func (t *groups) isolate(v *wound) {
	if !v.sound {
		return // how large the frames are is not known
	}
	v.each(func(r run, i int, index raft.Index, offset int64) {
		if g := t.byID[r.group]; g != nil && v.missing[i] {
			g.isolate(index, Position{v.at.Segment, offset}, v.frames[i].size)
		}
	})
}

// isolate splits the span that an entry is in, if the entry is there at all.
func (g *group) isolate(index raft.Index, at Position, size uint32) {
	n := sort.Search(len(g.spans), func(i int) bool { return g.spans[i].first > index }) - 1
	if n < 0 {
		return
	}
	s := g.spans[n]
	into := at.Offset - int64(s.offset)
	if uint64(s.segment) != at.Segment || into < 0 || into >= int64(s.bytes) || index > g.last {
		return
	}
	var parts []span
	if index > s.first {
		parts = append(parts, span{s.first, s.segment, s.offset, uint32(into)})
	}
	parts = append(parts, span{index, s.segment, uint32(at.Offset), size})
	next := index + 1
	if rest := s.bytes - uint32(into) - size; rest > 0 && next <= g.last && (n+1 == len(g.spans) || next < g.spans[n+1].first) {
		parts = append(parts, span{next, s.segment, uint32(at.Offset) + size, rest})
	}
	g.spans = slices.Replace(g.spans, n, n+1, parts...)
}

// adopt takes what a group must have come to by the end of a segment from a later record: a batch without a sound header must have
// said so, since no other does.
func (r *replay) adopt(segment uint64, c checkpoint) {
	g := r.groups.byID[c.group]
	n := len(r.damage.wounds) - 1
	for n >= 0 && r.damage.wounds[n].sound {
		n--
	}
	if g == nil || n < 0 || r.damage.wounds[n].at.Segment != segment || c.last != g.lastPosition() || checkHardState(g.id, g.hard, c.hard) != nil {
		return // where it does not fit, it is a contradiction
	}
	s := state{group: c.group, hard: c.hard, commit: max(g.commit, c.commit)}
	if c.before.Index > g.before.Index {
		if g.discard(c.before) != nil {
			return
		}
		s.floor, s.before = true, c.before
	}
	if s.hard != g.hard || s.commit != g.commit || s.floor {
		g.hard, g.commit = s.hard, s.commit
		v := r.damage.wounds[n]
		v.states = append(v.states, s)
	}
}

// adoptVotes does so for the last segment: the copies of the votes have every term and vote.
func (r *replay) adoptVotes() {
	if !r.damage.statesLost {
		return
	}
	for _, c := range r.copies {
		for _, v := range c.groups {
			if g := r.groups.byID[v.group]; g != nil {
				r.adopt(r.end.Segment, checkpoint{group: v.group, hard: v.hard, before: g.before, last: g.lastPosition()})
			}
		}
	}
}

// canHeal reports whether what is to be written without the peers fits where it was.
func (d *damage) canHeal() bool {
	return !slices.ContainsFunc(d.wounds, func(v *wound) bool { return !v.sound && v.left == 0 && v.whole() == nil })
}
