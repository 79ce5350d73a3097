package wal

import (
	"errors"
	"fmt"
	"sort"

	"github.com/balsadb/balsa/raft"
)

// survey looks at what is behind the place where the replay stopped: marks that prove that more was durable, and
// records that name what is missing.
type survey struct {
	*replay
	known    map[raft.GroupID]raft.Index // how far each group's entries are accounted for: sound, or named
	previous int64                       // the last sound batch in this segment
}

func (r *replay) survey() error {
	r.written = r.end
	s := survey{replay: r, known: map[raft.GroupID]raft.Index{}}
	for _, number := range r.numbers {
		if number < r.end.Segment {
			continue
		}
		if err := s.segment(number); err != nil {
			return err
		}
	}
	r.lost = mergeLost(r.lost)
	return nil
}

func (s *survey) segment(number uint64) error {
	w, err := s.window(number)
	if err != nil {
		return err
	}
	defer w.file.Close()
	from := int64(0)
	if number == s.end.Segment {
		from = s.end.Offset
	}
	if from == 0 && s.stop != placeContradiction {
		h, err := w.readHead(number)
		switch {
		case err == nil:
			s.believe(h.mark(), func() string { return "the head of " + w.name })
			s.sound(Position{number, 0})
			s.nameByCheckpoint(h)
		case !errors.As(err, new(*unsound)):
			return err
		}
	}
	s.previous = 0
	end, err := w.searchBatches(number, from, s.identity.salt(number), func(b *batch) {
		s.believe(b.mark, func() string { return fmt.Sprintf("the batch at byte %d of %s", b.at.Offset, w.name) })
		if b.at == s.end {
			s.nameByFrames(w, b)
		} else {
			s.sound(b.at)
			s.nameByBatch(b)
		}
		if !b.isMark() {
			s.previous = b.at.Offset
		}
	})
	if err != nil {
		return err
	}
	if number == s.end.Segment {
		s.written = Position{number, max(end, s.end.Offset)}
	}
	return nil
}

func (s *survey) sound(at Position) {
	if s.nextSound == (Position{}) {
		s.nextSound = at
	}
}

// nameByFrames names the bad frames of a batch whose header is sound.
func (s *survey) nameByFrames(w *window, b *batch) {
	body, err := w.body(b)
	if err != nil {
		return
	}
	_ = b.eachFrame(body, func(v run, i int, _ int64, _ raft.Entry, bad error) error {
		if bad != nil {
			s.lost = append(s.lost, LostRun{Group: v.group, First: v.first + raft.Index(i), Last: v.first + raft.Index(i), Term: v.term})
		}
		s.known[v.group] = v.last()
		return nil
	})
}

// nameByBatch names what a sound batch behind the bad region says of it: by its echo, if that is of a batch in the region, and
// by the gap before its entries.
func (s *survey) nameByBatch(b *batch) {
	if b.at.Segment == s.end.Segment && b.echoOffset >= s.end.Offset && b.echoOffset != s.previous {
		for _, v := range b.echo {
			s.gap(v.group, v.first-1)
			s.lost = append(s.lost, v.lost())
			s.known[v.group] = v.last()
		}
	}
	for _, state := range b.states {
		if state.restart {
			s.known[state.group] = state.before.Index
		}
	}
	for _, v := range b.runs {
		s.gap(v.group, v.first-1)
		s.known[v.group] = v.last()
	}
}

func (s *survey) nameByCheckpoint(h *head) {
	for _, c := range h.groups {
		s.gap(c.group, c.last.Index)
		s.known[c.group] = c.last.Index
	}
}

// gap names the entries of a group up to last that nothing sound holds.
func (s *survey) gap(id raft.GroupID, last raft.Index) {
	at, ok := s.known[id]
	if g := s.groups.byID[id]; !ok && g != nil {
		at = g.last
	}
	if last > at {
		s.lost = append(s.lost, LostRun{Group: id, First: at + 1, Last: last})
	}
}

// mergeLost sorts runs and joins those that meet.
func mergeLost(lost []LostRun) []LostRun {
	sort.SliceStable(lost, func(i, j int) bool {
		a, b := lost[i], lost[j]
		return a.Group < b.Group || a.Group == b.Group && a.First < b.First
	})
	merged := lost[:0]
	for _, run := range lost {
		if n := len(merged); n > 0 {
			last := &merged[n-1]
			if last.Group == run.Group && last.Term == run.Term && run.First <= last.Last+1 {
				last.Last = max(last.Last, run.Last)
				continue
			}
		}
		merged = append(merged, run)
	}
	return merged
}
