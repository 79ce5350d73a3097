package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// votes is the second copy of all groups' terms and votes: a member that forgot its vote could vote twice in a term.
//
// Two files are written in turn, each whole with a checksum and a generation that grows, so that one of them is good
// whenever the power goes. They are written after the log was synced, and only where a term or vote changed: elections pay for
// it, entries do not. Each also says how far the log was durable, and so vouches for the batch that the vote came with.
//
//	16  u64  generation
//	24  u64  cluster, member, 16 bytes data directory
//	56  u64  mark segment, mark offset
//	72  u64  number of groups
//	80       groups × 24: group, term, vote
type votes struct {
	files      [2]vfs.File
	generation uint64 // of the newest copy; it is in files[generation%2]
	changed    bool   // the log knows a newer state than the copies
	buf        []byte
}

var voteNames = [2]string{"votes-0", "votes-1"}

const (
	votesFixed   = 80
	voteSize     = 24
	maxVotesSize = 1 << 28
)

// voteCopy is what one of the files says.
type voteCopy struct {
	generation uint64
	identity   Identity
	mark       Position
	groups     []vote
}

type vote struct {
	group raft.GroupID
	hard  raft.HardState
}

func (c *voteCopy) encode(dst []byte) []byte {
	w := writer{dst[:0]}
	w.u64(0)
	w.u64(0)
	w.u64(c.generation)
	w.identity(c.identity)
	w.u64(c.mark.Segment)
	w.u64(uint64(c.mark.Offset))
	w.u64(uint64(len(c.groups)))
	for _, v := range c.groups {
		w.u64(uint64(v.group))
		w.u64(uint64(v.hard.Term))
		w.u64(uint64(v.hard.Vote))
	}
	seal(w.b, magicVotes, 0, 0)
	return w.b
}

func decodeVotes(b []byte) (*voteCopy, error) {
	r := reader{b[prefixSize:]}
	c := &voteCopy{generation: r.u64(), identity: r.identity(), mark: Position{r.u64(), int64(r.u64())}}
	n := r.u64()
	if n > uint64(len(r.b)/voteSize) || c.mark.Offset < 0 || c.generation == 0 {
		return nil, errors.New("the copy of the votes contradicts itself")
	}
	for range n {
		v := vote{group: raft.GroupID(r.u64())}
		v.hard = raft.HardState{Term: raft.Term(r.u64()), Vote: raft.MemberID(r.u64())}
		c.groups = append(c.groups, v)
	}
	return c, nil
}

// write makes a newer copy durable, over the older one.
func (v *votes) write(f files, id Identity, mark Position, t *groups) error {
	next := v.generation + 1
	if v.files[next%2] == nil {
		return fmt.Errorf("%s is not open", f.path(voteNames[next%2]))
	}
	c := voteCopy{generation: next, identity: id, mark: mark}
	for _, g := range t.sorted {
		c.groups = append(c.groups, vote{g.id, g.hard})
	}
	v.buf = c.encode(v.buf)
	file := v.files[next%2]
	if _, err := file.WriteAt(v.buf, 0); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	v.generation, v.changed = next, false
	return nil
}

// open opens both files, making those that are not there.
func (v *votes) open(f files) error {
	for i, name := range voteNames {
		file, err := f.fs.Open(f.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			file, err = f.fs.Create(f.path(name))
		}
		if err != nil {
			return err
		}
		v.files[i] = file
	}
	return f.fs.SyncDir(f.dir)
}

func (v *votes) close() error {
	var errs []error
	for _, file := range v.files {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// readVotes reads one of the files: nil without an error where it is not there or was never written.
func (f files) readVotes(i int) (*voteCopy, error) {
	name := f.path(voteNames[i])
	file, err := f.fs.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, min(size, maxVotesSize))
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	bad := func(err error) (*voteCopy, error) { return nil, &badVotes{name, err} }
	if len(b) < votesFixed {
		return bad(fmt.Errorf("it has %d bytes", len(b)))
	}
	n, err := headerSize(b, magicVotes, votesFixed)
	if err == nil && n > int64(len(b)) {
		err = fmt.Errorf("it says that it has %d bytes, where there are %d", n, len(b))
	}
	if err != nil {
		return bad(err)
	}
	if err := open(name, b[:n], 0); err != nil {
		var version *VersionError
		if errors.As(err, &version) {
			return nil, err
		}
		return bad(err)
	}
	c, err := decodeVotes(b[:n])
	if err == nil && c.generation%2 != uint64(i) {
		err = fmt.Errorf("its generation %d belongs into the other file", c.generation)
	}
	if err != nil {
		return bad(err)
	}
	return c, nil
}

// badVotes says that a copy of the votes is damaged: torn by a power cut while it was written, or rotten.
type badVotes struct {
	file string
	err  error
}

func (e *badVotes) Error() string { return fmt.Sprintf("%s: %v", e.file, e.err) }
func (e *badVotes) Unwrap() error { return e.err }
