package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// A log that is opened with Options.Mend goes on where what is damaged has a name. Its wounds stay until Mend is given
// what is missing. docs/decisions/0023-repair-of-the-log.md has the rules for who may do what meanwhile.

// past replays again a log that a replay has found damaged, and passes over what has a name. row is what comes of that.
func (r *replay) past() (*replay, recoveryRow, error) {
	again := &replay{
		files: r.files, identity: r.identity, numbers: r.numbers, copies: r.copies, badVotes: r.badVotes,
		groups: newGroups(), proof: r.proof, mending: true,
	}
	if err := again.run(); err != nil {
		return nil, recoveryRow{}, err
	}
	row, err := decide(again.finding())
	if err == nil && row.verdict == resume && again.end.Less(again.proof.mark) {
		err = fmt.Errorf("wal: the log ends at %v, and %s proves that it went on to %v", again.end, again.proof.by, again.proof.mark)
	}
	return again, row, err
}

// votesKnown reports whether the copies hold every term and vote: both are sound, and so is the newer one.
func (r *replay) votesKnown() bool { return r.copies[0] != nil && r.copies[1] != nil }

// mendOnDisk heals at the start what needs nobody's help: heads, and batches whose frames are all there.
func (l *Log) mendOnDisk(d *damage, report *Report) error {
	for _, h := range d.heads {
		b := h.encode()
		b = append(b, make([]byte, h.sizeOnDisk-int64(len(b)))...)
		seal(b, magicSegment, 0, 0)
		if err := l.rewrite(h.segment, []patch{{b, 0}}); err != nil {
			return err
		}
		report.Notes = append(report.Notes, fmt.Sprintf("the head of %s was damaged and was written anew", l.path(segmentName(h.segment))))
	}
	for _, v := range d.wounds {
		if v.left > 0 {
			l.wounds = append(l.wounds, v)
			l.groups.isolate(v)
			continue
		}
		b := v.whole()
		if b == nil {
			return fmt.Errorf("the entries at %v are not those of their name", v.at)
		}
		if err := l.rewrite(v.at.Segment, []patch{{b, v.at.Offset}}); err != nil {
			return err
		}
		report.Notes = append(report.Notes, fmt.Sprintf("the header at byte %d of %s was damaged and was written anew; its entries were sound", v.at.Offset, l.path(segmentName(v.at.Segment))))
	}
	return nil
}

// patch is what is written to a place of a segment.
type patch struct {
	b      []byte
	offset int64
}

// rewrite writes to places of a segment that the log is done with, durably.
func (l *Log) rewrite(number uint64, patches []patch) (err error) {
	var file vfs.File
	if number == l.active.number {
		file = l.active.file
	} else {
		if file, err = l.fs.Open(l.path(segmentName(number))); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	for _, p := range patches {
		if _, err := file.WriteAt(p.b, p.offset); err != nil {
			return err
		}
	}
	return file.Sync()
}

// Mend writes entries to where the log has lost them, durably, and returns how many those were. Entries that are not missed, or are not what
// was there, are passed over. It belongs to the log writer. An error ends the use of the log.
func (l *Log) Mend(entries []raft.Entry) (mended int, err error) {
	if l.failure != nil {
		return 0, l.failure
	}
	l.reading.RLock() // as for a Read: what is still in the log is not removed meanwhile
	defer l.reading.RUnlock()
	for _, v := range l.standingWounds() {
		n, patches := l.fill(v, entries)
		if mended += n; len(patches) == 0 {
			continue
		}
		if err := l.rewrite(v.at.Segment, patches); err != nil {
			return mended, l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wounds = slices.DeleteFunc(l.wounds, func(v *wound) bool { return v.left == 0 })
	return mended, nil
}

// standingWounds forgets the wounds whose segments were taken out of the log, and returns the others. Who calls it and means to open their
// files holds reading.
func (l *Log) standingWounds() []*wound {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.segments[0].number
	l.wounds = slices.DeleteFunc(l.wounds, func(v *wound) bool { return v.at.Segment < first })
	return slices.Clone(l.wounds)
}

// fill gives a wound what it misses of the entries, and returns how many those were, and what is to be written.
func (l *Log) fill(v *wound, entries []raft.Entry) (filled int, patches []patch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if len(e) < raft.EntryHeaderSize || e.Check() != nil {
			continue
		}
		left := v.left
		b, offset := v.offer(e)
		filled += left - v.left
		if len(b) > 0 {
			patches = append(patches, patch{b, offset})
		}
	}
	return filled, patches
}

// Damaged returns the entries of a group that the log should hold and has lost. Anybody may call it at any time.
func (l *Log) Damaged(id raft.GroupID) []LostRun {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.damaged(id)
}

func (l *Log) damaged(id raft.GroupID) (lost []LostRun) {
	g := l.groups.byID[id]
	if g == nil || len(l.wounds) == 0 {
		return nil
	}
	for _, v := range l.wounds {
		v.each(func(r run, i int, index raft.Index, _ int64) {
			if v.missing[i] && r.group == id && g.isAt(index, v) {
				lost = append(lost, LostRun{Group: id, First: index, Last: index, Term: r.term})
			}
		})
	}
	return mergeLost(lost)
}

// isAt reports whether the entry at index, as the log holds it now, lies within a wound: it was neither replaced nor given up.
func (g *group) isAt(index raft.Index, v *wound) bool {
	if index <= g.before.Index || index > g.last || len(g.spans) == 0 {
		return false
	}
	spans, _ := g.locate(nil, index, index+1, 1)
	s := spans[0]
	return uint64(s.segment) == v.at.Segment && int64(s.offset) >= v.at.Offset && int64(s.offset) < v.end()
}

// Examine looks at a segment again, after a Read has found it damaged, so that Mend knows what is missing. It belongs to the log writer.
// An error says that what is damaged has no name.
func (l *Log) Examine(number uint64) error {
	if l.failure != nil {
		return l.failure
	}
	l.reading.RLock() // as for a Read: what is still in the log is not removed meanwhile
	defer l.reading.RUnlock()
	if !l.holds(number) {
		return nil // it was removed meanwhile
	}
	w, err := l.window(number)
	if err != nil {
		return err
	}
	defer w.file.Close()
	r := &replay{files: l.files, identity: l.identity, mending: true, proof: proof{mark: l.synced}}
	if number < l.active.number {
		r.proof.mark = Position{number + 1, 0}
	}
	h, err := w.readHead(number)
	if err != nil {
		return err
	}
	r.end = Position{number, h.size}
	if _, err := r.body(w); err != nil {
		return err
	}
	if number == l.active.number && r.end.Less(l.synced) {
		return r.why
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wounds = slices.DeleteFunc(l.wounds, func(v *wound) bool { return v.at.Segment == number && v.sound })
	for _, v := range r.damage.wounds {
		known := slices.ContainsFunc(l.wounds, func(k *wound) bool { return k.at == v.at })
		if !known && v.left > 0 {
			l.wounds = append(l.wounds, v)
			l.groups.isolate(v)
		}
	}
	return nil
}

// holds reports whether a segment is in the log still.
func (l *Log) holds(number uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.segments) > 0 && number >= l.segments[0].number && number <= l.active.number
}
