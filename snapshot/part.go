package snapshot

import (
	"errors"
	"fmt"
	"io"

	"github.com/balsadb/balsa/vfs"
)

// syncEvery is how many bytes of a part are written between two syncs: small enough that a log on the same disk does not
// wait behind gigabytes (E31).
const syncEvery = 8 << 20

// Part is a snapshot on its way into a spool. One goroutine uses it. Either Commit or Abort ends it.
type Part struct {
	spool    *Spool
	entry    Entry
	name     string
	file     vfs.File // nil once it has ended
	size     int64
	unsynced int64
	err      error // the first one of the disk; nothing is written after it (E45)

	// Of one that is received:
	kept  Kept
	check *checker // verifies what is written; nil where that is done at the end only
}

// Create begins a snapshot. What is written to the part is what a Writer writes, cut in any way.
func (s *Spool) Create(e Entry) (*Part, error) {
	name := fmt.Sprintf("%s.%d%s", e.name(), s.parts.Add(1), partSuffix)
	file, err := s.fsys.Create(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &Part{spool: s, entry: e, name: name, file: file}, nil
}

var errEnded = errors.New("snapshot: the part was committed or aborted")

// Write implements io.Writer. What a part that is received finds damaged, with an error that wraps ErrDamaged, it does not write,
// and Size goes back to the end of what is good: it can be written from there again.
func (p *Part) Write(b []byte) (int, error) {
	if p.file == nil {
		return 0, errEnded
	}
	if p.err != nil {
		return 0, p.err
	}
	if p.check == nil {
		return p.write(b)
	}
	damaged := p.check.check(b)
	if damaged == nil && p.size+int64(len(b)) == p.kept.Bytes && !p.check.whole {
		damaged = p.check.cutShort()
	}
	if damaged == nil {
		return p.write(b)
	}
	p.size, b = min(p.size, p.check.verified), b[:max(0, p.check.verified-p.size)]
	if n, err := p.write(b); err != nil {
		return n, err
	}
	return len(b), fmt.Errorf("%s: %w", p.spool.path(p.name), damaged)
}

func (p *Part) write(b []byte) (int, error) {
	n, err := p.file.WriteAt(b, p.size)
	p.size += int64(n)
	if p.unsynced += int64(n); err == nil && p.unsynced >= syncEvery {
		p.unsynced = 0
		err = p.file.Sync()
	}
	if err != nil {
		p.err = fmt.Errorf("snapshot: writing %s: %w", p.spool.path(p.name), err)
		return n, p.err
	}
	return n, nil
}

// Size returns how many bytes were written, and are good as far as is known.
func (p *Part) Size() int64 { return p.size }

// Commit verifies that what was written is a whole snapshot of what Create was told, makes it durable, and gives it its
// place in the spool. Where it fails nothing is left, except where the very last sync does: then the snapshot is there, and
// may be gone after a power cut.
func (p *Part) Commit() error {
	if p.file == nil {
		return errEnded
	}
	err := p.err
	if err == nil {
		err = p.verify()
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.spool.path(p.name), err), p.Abort())
	}
	if err := p.close(); err != nil {
		return errors.Join(err, p.remove())
	}
	if err := p.spool.fsys.Rename(p.spool.path(p.name), p.spool.path(p.entry.name()+wholeSuffix)); err != nil {
		return errors.Join(fmt.Errorf("snapshot: %w", err), p.remove())
	}
	if err := p.spool.fsys.SyncDir(p.spool.dir); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// verify reads everything that was written.
func (p *Part) verify() error {
	f, err := readFile(p.file, p.entry)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, f.Reader); err != nil {
		return err
	}
	if f.read != p.size {
		return fmt.Errorf("%w: %d bytes follow its foot", ErrDamaged, p.size-f.read)
	}
	return nil
}

// Abort removes what was written. It does nothing after Commit.
func (p *Part) Abort() error {
	if p.file == nil {
		return nil
	}
	return errors.Join(p.close(), p.remove())
}

func (p *Part) close() error {
	file := p.file
	p.file = nil
	return file.Close()
}

func (p *Part) remove() error {
	if err := p.spool.fsys.Remove(p.spool.path(p.name)); err != nil {
		return fmt.Errorf("snapshot: removing a part: %w", err) // the next start does it
	}
	return nil
}
