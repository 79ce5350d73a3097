package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// Visitor is told what Dump finds, in the order of the files. A nil function is not called. An error from one ends the dump.
type Visitor struct {
	Votes   func(VotesInfo) error
	Segment func(SegmentInfo) error
	Batch   func(BatchInfo) error
	Entry   func(EntryInfo) error
	Bad     func(BadInfo) error
	End     func(EndInfo) error // once, last
}

// HardStateInfo is one group's term and vote, and what else a record says of the group.
type HardStateInfo struct {
	Group   raft.GroupID  `json:"group"`
	Term    raft.Term     `json:"term"`
	Vote    raft.MemberID `json:"vote"`
	Commit  raft.Index    `json:"commit,omitempty"`
	Before  raft.Position `json:"before,omitzero"` // the entry before the first one, where the record says it
	Last    raft.Position `json:"last,omitzero"`   // the last entry, in a segment's head
	Restart bool          `json:"restart,omitempty"`
	Floor   bool          `json:"floor,omitempty"` // entries up to Before were given up
}

// VotesInfo is one of the two copies of terms and votes.
type VotesInfo struct {
	File       string          `json:"file"`
	Generation uint64          `json:"generation,omitempty"` // 0 where the copy is missing or bad
	Mark       Position        `json:"mark,omitzero"`
	Groups     []HardStateInfo `json:"groups,omitempty"`
	Error      string          `json:"error,omitempty"`
}

// SegmentInfo is a segment's head.
type SegmentInfo struct {
	File        string          `json:"file"`
	Number      uint64          `json:"number"`
	Size        int64           `json:"size"`
	Version     uint8           `json:"version,omitempty"`
	Cluster     uint64          `json:"cluster,omitempty"`
	Member      raft.MemberID   `json:"member,omitempty"`
	DataDir     string          `json:"data_dir,omitempty"`
	PreviousEnd int64           `json:"previous_end,omitempty"`
	Groups      []HardStateInfo `json:"groups,omitempty"` // the checkpoint
	Directory   string          `json:"directory"`        // "ok", "none", or what is wrong with it
	Error       string          `json:"error,omitempty"`
}

// RunInfo is entries of one group and term.
type RunInfo struct {
	Group raft.GroupID `json:"group"`
	Term  raft.Term    `json:"term"`
	First raft.Index   `json:"first"`
	Last  raft.Index   `json:"last"`
	Bytes uint64       `json:"bytes"`
}

// BatchInfo is a batch header.
type BatchInfo struct {
	File   string          `json:"file"`
	At     Position        `json:"at"`
	Size   int64           `json:"size"`
	Mark   Position        `json:"mark"` // everything before this was durable when the batch was written
	IsMark bool            `json:"is_mark,omitempty"`
	States []HardStateInfo `json:"states,omitempty"`
	Runs   []RunInfo       `json:"runs,omitempty"`
}

// EntryInfo is an entry frame.
type EntryInfo struct {
	At      Position     `json:"at"`
	Group   raft.GroupID `json:"group"`
	Index   raft.Index   `json:"index"`
	Term    raft.Term    `json:"term"`
	Kind    string       `json:"kind"`
	Size    int          `json:"size"` // with its header
	HeadCRC uint32       `json:"head_crc"`
	Error   string       `json:"error,omitempty"` // what is wrong with it; the other fields are what its batch says
	Entry   raft.Entry   `json:"-"`               // valid during the call
}

// BadInfo is a region that is no sound batch.
type BadInfo struct {
	File  string `json:"file"`
	From  int64  `json:"from"`
	To    int64  `json:"to"` // where the next sound batch begins, or the last byte that is not zero
	Error string `json:"error"`
}

// EndInfo is what a start would make of the log.
type EndInfo struct {
	Row     string   `json:"row"` // of the recovery table
	Reason  string   `json:"reason"`
	End     Position `json:"end"`
	Mark    Position `json:"mark"` // everything before this is known to have been durable
	Refused string   `json:"refused,omitempty"`
	// Groups is what a start would find: entries of a group begin behind Before, its floor.
	Groups []HardStateInfo `json:"groups,omitempty"`
}

// Dump reads a log and tells what is in it. It changes nothing and takes no lock, so it may run beside a server; what the server
// is writing meanwhile then shows as a torn tail.
func Dump(fsys vfs.FS, dir string, visitor Visitor) error {
	d := &dumper{files: files{fsys, dir}, Visitor: visitor}
	numbers, _, err := d.segments()
	if err != nil {
		return fmt.Errorf("wal: reading the directory %s: %w", dir, err)
	}
	if err := d.votes(); err != nil {
		return err
	}
	if err := d.whose(numbers); err != nil {
		return err
	}
	for _, number := range numbers {
		if err := d.segment(number); err != nil {
			return err
		}
	}
	return d.end()
}

type dumper struct {
	files
	Visitor
	identity Identity
	known    bool
}

func call[T any](visit func(T) error, info T) error {
	if visit == nil {
		return nil
	}
	return visit(info)
}

func (d *dumper) votes() error {
	for i, name := range voteNames {
		info := VotesInfo{File: d.path(name)}
		c, err := d.readVotes(i)
		switch {
		case errors.As(err, new(*badVotes)):
			info.Error = err.Error()
		case err != nil:
			return err
		case c == nil:
			info.Error = "missing"
		default:
			d.identity, d.known = c.identity, true
			info.Generation, info.Mark = c.generation, c.mark
			for _, v := range c.groups {
				info.Groups = append(info.Groups, HardStateInfo{Group: v.group, Term: v.hard.Term, Vote: v.hard.Vote})
			}
		}
		if err := call(d.Visitor.Votes, info); err != nil {
			return err
		}
	}
	return nil
}

// whose finds whose log this is: batches cannot be verified without.
func (d *dumper) whose(numbers []uint64) error {
	for _, number := range numbers {
		if d.known {
			return nil
		}
		w, err := d.window(number)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		h, err := w.readHead(number)
		if err == nil {
			d.identity, d.known = h.identity, true
		}
		if err = errors.Join(err, w.file.Close()); err != nil && !errors.As(err, new(*unsound)) {
			return err
		}
	}
	return nil
}

func (d *dumper) segment(number uint64) error {
	w, err := d.window(number)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server has removed it
	}
	if err != nil {
		return err
	}
	defer w.file.Close()
	info := SegmentInfo{File: w.name, Number: number, Size: w.size, Directory: "ok"}
	h, err := w.readHead(number)
	from := int64(0)
	switch {
	case err == nil:
		from = h.size
		info.describe(h)
	case errors.As(err, new(*unsound)):
		info.Error = err.Error()
	default:
		return err
	}
	switch _, err := d.readDirectory(number, d.identity); {
	case errors.As(err, new(*unsound)):
		info.Directory = err.Error()
	case err != nil:
		return err
	}
	if err := call(d.Visitor.Segment, info); err != nil {
		return err
	}
	return d.batches(w, Position{number, from})
}

func (info *SegmentInfo) describe(h *head) {
	info.Version, info.Cluster, info.Member = formatVersion, h.identity.Cluster, h.identity.Member
	info.DataDir = fmt.Sprintf("%x", h.identity.DataDir)
	info.PreviousEnd = h.previousEnd
	info.Groups = stateInfos(h.groups)
}

func stateInfos(groups []checkpoint) (infos []HardStateInfo) {
	for _, c := range groups {
		infos = append(infos, HardStateInfo{Group: c.group, Term: c.hard.Term, Vote: c.hard.Vote, Commit: c.commit, Before: c.before, Last: c.last})
	}
	return infos
}

// batches tells of all batches, sound and bad, from a place to the segment's end.
func (d *dumper) batches(w *window, at Position) error {
	salt := d.identity.salt(at.Segment)
	for {
		var b batch
		err := w.readBatch(&b, at, salt)
		if err == nil {
			if err := d.batch(w, &b); err != nil {
				return err
			}
			at.Offset = b.end()
			continue
		}
		if !errors.As(err, new(*unsound)) {
			return err
		}
		next := int64(-1)
		end, searchErr := w.searchBatches(at.Segment, at.Offset, salt, func(found *batch) bool {
			next = found.at.Offset
			return false
		})
		if searchErr != nil {
			return searchErr
		}
		if next < 0 && end <= at.Offset {
			return nil
		}
		bad := BadInfo{File: w.name, From: at.Offset, To: max(next, end), Error: err.Error()}
		if next >= 0 {
			bad.To = next
		}
		if err := call(d.Bad, bad); err != nil || next < 0 {
			return err
		}
		at.Offset = next
	}
}

func (d *dumper) batch(w *window, b *batch) error {
	info := BatchInfo{File: w.name, At: b.at, Size: b.size, Mark: b.mark, IsMark: b.isMark()}
	for _, s := range b.states {
		info.States = append(info.States, HardStateInfo{
			Group: s.group, Term: s.hard.Term, Vote: s.hard.Vote, Commit: s.commit, Restart: s.restart, Floor: s.floor, Before: s.before})
	}
	for _, r := range b.runs {
		info.Runs = append(info.Runs, RunInfo{r.group, r.term, r.first, r.last(), r.bytes})
	}
	if err := call(d.Visitor.Batch, info); err != nil || d.Visitor.Entry == nil && d.Visitor.Bad == nil {
		return err
	}
	body, err := w.body(b)
	if err != nil {
		return err
	}
	var stopped error
	err = b.eachFrame(body, func(r run, i int, offset int64, e raft.Entry, bad error) error {
		entry := EntryInfo{At: Position{b.at.Segment, offset}, Group: r.group, Index: r.first + raft.Index(i), Term: r.term, Size: len(e), Entry: e}
		if bad != nil {
			entry.Error = bad.Error()
		} else {
			entry.Kind, entry.HeadCRC = e.Kind().String(), e.HeadCRC()
		}
		stopped = call(d.Visitor.Entry, entry)
		return stopped
	})
	if stopped != nil || err == nil {
		return stopped
	}
	return call(d.Bad, BadInfo{File: w.name, From: b.at.Offset, To: b.end(), Error: err.Error()})
}

// replay reads the log as a start does: anew where a segment was removed meanwhile.
func (d *dumper) replay() (*replay, error) {
	for {
		numbers, _, err := d.segments()
		if err != nil {
			return nil, err
		}
		r := &replay{files: d.files, identity: d.identity, numbers: numbers, groups: newGroups()}
		if r.copies, r.badVotes, err = r.readCopies(d.identity); err != nil {
			return nil, err
		}
		if err = r.run(); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if now, _, listErr := d.segments(); listErr != nil || slices.Equal(now, numbers) {
			return nil, errors.Join(err, listErr)
		}
	}
}

// end tells what recovery would do.
func (d *dumper) end() error {
	r, err := d.replay()
	if err != nil {
		return err
	}
	row, err := decide(r.finding())
	if err != nil {
		return err
	}
	info := EndInfo{Row: row.name, Reason: row.reason, End: r.end, Mark: r.proof.mark, Groups: stateInfos(r.groups.checkpoints())}
	if row.verdict == refuse {
		info.Groups = nil
		info.Refused = r.corruption(row).Error()
	}
	return call(d.Visitor.End, info)
}
