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
	known  map[raft.GroupID]raft.Index // how far each group's entries are accounted for: sound, or named
	floors map[raft.GroupID]raft.Index // how far they were given up

	// Of the segment that is looked at:
	window    *window
	covered   int64 // everything before it is accounted for
	directory *directory
}

func (r *replay) survey() error {
	r.written = r.end
	s := survey{replay: r, known: map[raft.GroupID]raft.Index{}, floors: map[raft.GroupID]raft.Index{}}
	for _, number := range r.numbers {
		if number < r.end.Segment {
			continue
		}
		if err := s.segment(number); err != nil {
			return err
		}
	}
	s.trimLost()
	r.lost = mergeLost(r.lost)
	return nil
}

func (s *survey) segment(number uint64) (err error) {
	if s.window, err = s.files.window(number); err != nil {
		return err
	}
	defer s.window.file.Close()
	s.covered = 0
	if number == s.end.Segment {
		s.covered = s.end.Offset
	}
	if s.covered == 0 && s.stop != placeContradiction {
		if err := s.head(number); err != nil {
			return err
		}
	}
	if s.directory, err = s.readDirectory(number, s.identity); err != nil && !errors.As(err, new(*unsound)) {
		return err
	}
	end, err := s.window.searchBatches(number, s.covered, s.identity.salt(number), s.batch)
	if err != nil {
		return err
	}
	s.nameByDirectory(s.window.size)
	if number == s.end.Segment {
		s.written = Position{number, max(end, s.end.Offset)}
	}
	return nil
}

func (s *survey) head(number uint64) error {
	h, err := s.window.readHead(number)
	if errors.As(err, new(*unsound)) {
		return nil
	}
	if err != nil {
		return err
	}
	s.believe(h.mark(), func() string { return "the head of " + s.window.name })
	s.sound(Position{number, 0})
	if number == s.end.Segment+1 {
		s.sealed = h.previousEnd
	}
	s.nameByCheckpoint(h)
	s.covered = h.size
	return nil
}

// batch takes a batch with a sound header into account.
func (s *survey) batch(b *batch) (more bool) {
	s.believe(b.mark, func() string { return fmt.Sprintf("the batch at byte %d of %s", b.at.Offset, s.window.name) })
	if b.at != s.end {
		s.sound(b.at)
	}
	if s.covered < b.at.Offset && !s.nameByDirectory(b.at.Offset) && b.echoOffset >= s.covered {
		for _, v := range b.echo {
			s.name(v)
		}
	}
	for _, state := range b.states {
		if state.restart {
			s.known[state.group] = state.before.Index
		}
		if state.floor {
			s.floors[state.group] = max(s.floors[state.group], state.before.Index)
		}
	}
	s.nameByFrames(b)
	s.covered = b.end()
	return true
}

func (s *survey) sound(at Position) {
	if s.nextSound == (Position{}) {
		s.nextSound = at
	}
}

// name adds a run that is lost, and what is missing between it and what is known.
func (s *survey) name(v run) {
	s.gap(v.group, v.first-1)
	s.lost = append(s.lost, v.lost())
	s.known[v.group] = v.last()
}

// nameByDirectory names what the segment's directory lists of the bad region that ends at to.
func (s *survey) nameByDirectory(to int64) bool {
	if s.directory == nil {
		return false
	}
	for _, v := range s.directory.runs {
		if v.batch >= s.covered && v.batch < to {
			s.name(v.run)
		}
	}
	return true
}

// nameByFrames names the bad frames of a batch whose header is sound, and the gap before its entries.
func (s *survey) nameByFrames(b *batch) {
	for _, v := range b.runs {
		s.gap(v.group, v.first-1)
		s.known[v.group] = v.last()
	}
	body, err := s.window.body(b)
	if err != nil {
		return // the gaps say it less exactly
	}
	_ = b.eachFrame(body, func(v run, i int, _ int64, _ raft.Entry, bad error) error {
		if bad != nil {
			s.lost = append(s.lost, LostRun{Group: v.group, First: v.first + raft.Index(i), Last: v.first + raft.Index(i), Term: v.term})
		}
		return nil
	})
}

func (s *survey) nameByCheckpoint(h *head) {
	for _, c := range h.groups {
		s.floors[c.group] = max(s.floors[c.group], c.before.Index)
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

// trimLost takes out what was given up: nobody misses it.
func (s *survey) trimLost() {
	kept := s.lost[:0]
	for _, run := range s.lost {
		if run.First = max(run.First, s.floors[run.Group]+1); run.First <= run.Last {
			kept = append(kept, run)
		}
	}
	s.lost = kept
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
