package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/balsadb/balsa/raft"
)

// A snapshot that arrives is kept when its connection breaks, its sender dies, or this process does: what is there need not be sent
// again. It is completed from any sender whose snapshot has the same identity, and from no other.

// Kept names a snapshot that arrives.
type Kept struct {
	Entry
	Identity uint64 // 0: it cannot be told from others, and is not kept
	Bytes    int64  // of the whole file
	From     raft.MemberID
}

func (k Kept) name() string {
	return fmt.Sprintf("%s.%016x-%016x-%016x%s", k.Entry.name(), k.Identity, uint64(k.Bytes), uint64(k.From), partSuffix)
}

// parseKept is the inverse of name.
func parseKept(name string) (Kept, bool) {
	var k Kept
	_, err := fmt.Sscanf(name, "%016x-%016x-%016x.%016x-%016x-%016x"+partSuffix,
		&k.Group, &k.Position.Index, &k.Position.Term, &k.Identity, &k.Bytes, &k.From)
	return k, err == nil && k.Identity != 0 && k.name() == name
}

// same reports whether two are parts of the same bytes, whoever sends them.
func (k Kept) same(other Kept) bool {
	return k.Entry == other.Entry && k.Identity == other.Identity && k.Bytes == other.Bytes
}

// matches returns an error where a head is not of what was announced.
func (k Kept) matches(m *Meta) error {
	if m.Group != k.Group || m.Position != k.Position || k.Identity != 0 && m.Identity != k.Identity {
		return fmt.Errorf("%w: it is of group %d, index %d, term %d, identity %016x, and not what was announced", ErrDamaged,
			m.Group, m.Position.Index, m.Position.Term, m.Identity)
	}
	return nil
}

// Kept returns what arrived in part, of a group.
func (s *Spool) Kept(group raft.GroupID) ([]Kept, error) {
	names, err := s.fsys.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: listing %s: %w", s.dir, err)
	}
	var all []Kept
	for _, name := range names {
		if k, ok := parseKept(name); ok && k.Group == group {
			all = append(all, k)
		}
	}
	return all, nil
}

// Receive begins to receive a snapshot, or goes on with what was kept of it: the part's Size says how much that is. It was read
// again and verified, chunk by chunk; what follows the last good one is not counted. That takes as long as the part is large.
//
// What was kept of the group's other snapshots is removed.
func (s *Spool) Receive(k Kept) (*Part, error) {
	if k.Identity == 0 {
		p, err := s.Create(k.Entry)
		if err == nil {
			p.check = &checker{wants: k}
			p.kept = k
		}
		return p, err
	}
	found, err := s.forgetOthers(k)
	if err != nil {
		return nil, err
	}
	p := &Part{spool: s, entry: k.Entry, kept: k, name: k.name(), check: &checker{wants: k}}
	if found.Identity == 0 {
		p.file, err = s.fsys.Create(s.path(p.name))
	} else {
		p.name = found.name()
		p.file, err = s.fsys.Open(s.path(p.name))
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := p.reread(); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %s: %w", s.path(p.name), err), p.Abort())
	}
	return p, nil
}

// forgetOthers removes what is kept of a group and is no part of k, and returns what is one.
func (s *Spool) forgetOthers(k Kept) (found Kept, err error) {
	all, err := s.Kept(k.Group)
	if err != nil {
		return found, err
	}
	for _, other := range all {
		if other.same(k) && found.Identity == 0 {
			found = other
			continue
		}
		if err := s.RemoveKept(other); err != nil {
			return found, err
		}
	}
	return found, nil
}

// RemoveKept removes a part that is not being received.
func (s *Spool) RemoveKept(k Kept) error {
	if err := s.fsys.Remove(s.path(k.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshot: removing a part: %w", err)
	}
	return nil
}

// reread finds out how much of a part is good.
func (p *Part) reread() error {
	size, err := p.file.Size()
	if err != nil {
		return err
	}
	_, err = io.Copy(writerFunc(func(b []byte) (int, error) {
		if err := p.check.check(b); err != nil {
			return 0, err
		}
		return len(b), nil
	}), io.NewSectionReader(p.file, 0, size))
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
		return err
	}
	p.check.reader.record = p.check.reader.record[:0] // an incomplete one is sent again
	p.size = p.check.verified
	return p.file.Truncate(p.size)
}

// Suspend ends the use of a part and keeps what has arrived, where it can be told from others; else it is Abort.
func (p *Part) Suspend() error {
	if p.file == nil || p.kept.Identity == 0 || p.err != nil || p.size == 0 {
		return p.Abort()
	}
	return p.close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
