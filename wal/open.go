package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/balsadb/balsa/vfs"
)

// Recovered is what Open found.
type Recovered struct {
	Groups []GroupState // sorted by their ids
	Report Report
	// Damage is what would have refused the start without Options.Mend; nil where the log is whole. Its Lost is what was found before
	// any of it was mended; GroupState.Damaged is what is missing still.
	Damage *CorruptionError
}

// Report says what recovery saw and did.
type Report struct {
	Row      string // of the recovery table
	Reason   string
	Segments int
	Batches  uint64
	Entries  uint64
	Bytes    uint64 // of all batches
	End      Position
	CutBytes int64    // overwritten with zeros behind End
	Notes    []string // what was repaired in passing
}

// Open opens the log in a directory, making it where there is none. When it returns, all that it reports is durable (E52).
//
// It refuses, with nothing changed on the disk, a directory of somebody else (*IdentityError), of another format
// (*VersionError), with something else in it, in use by another process (vfs.ErrLocked), or damaged where it
// matters (*CorruptionError).
func Open(fsys vfs.FS, dir string, opts Options) (*Log, *Recovered, error) {
	opts, err := opts.checked()
	if err != nil {
		return nil, nil, err
	}
	f := files{fsys, dir}
	if err := f.belongsTo(opts.Identity); err != nil {
		return nil, nil, err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, fmt.Errorf("wal: making the directory %s: %w", dir, err)
	}
	lock, err := fsys.Lock(f.path(lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, nil, fmt.Errorf("wal: %s is in use by another process: stop it first, or give this one a directory of its own: %w", dir, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("wal: locking %s: %w", dir, err)
	}
	l, recovered, err := openLocked(f, opts)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	return l, recovered, nil
}

// belongsTo reads what says whose directory this is, before anything is changed in it.
func (f files) belongsTo(id Identity) error {
	numbers, others, err := f.segments()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wal: reading the directory %s: %w", f.dir, err)
	}
	copies, _, err := f.readCopies(id)
	if err != nil {
		return err
	}
	known := copies[0] != nil || copies[1] != nil
	for _, number := range numbers {
		known = true
		w, err := f.window(number)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed by the process that uses the log: the lock will tell
		}
		if err != nil {
			return err
		}
		h, err := w.readHead(number)
		err = errors.Join(err, w.file.Close())
		switch {
		case errors.As(err, new(*unsound)):
		case err != nil:
			return err
		case h.identity != id:
			return &IdentityError{File: w.name, Want: id, Got: h.identity}
		}
	}
	if !known && len(others) > 0 {
		return fmt.Errorf("wal: the directory %s holds no log of Balsa, but %s; nothing was changed: use a directory that is empty or does not exist yet",
			f.dir, strings.Join(others[:min(len(others), 5)], ", "))
	}
	return nil
}

// readCopies reads both copies of the votes. What is wrong with one is in bad.
func (f files) readCopies(id Identity) (copies [2]*voteCopy, bad [2]error, err error) {
	for i := range copies {
		c, err := f.readVotes(i)
		switch {
		case errors.As(err, new(*badVotes)):
			bad[i] = err
		case err != nil:
			return copies, bad, err
		case c != nil && c.identity != id:
			return copies, bad, &IdentityError{File: f.path(voteNames[i]), Want: id, Got: c.identity}
		default:
			copies[i] = c
		}
	}
	return copies, bad, nil
}

func openLocked(f files, opts Options) (*Log, *Recovered, error) {
	numbers, _, err := f.segments()
	if err != nil {
		return nil, nil, err
	}
	r := &replay{files: f, identity: opts.Identity, numbers: numbers, groups: newGroups()}
	if r.copies, r.badVotes, err = f.readCopies(opts.Identity); err != nil {
		return nil, nil, err
	}
	if err := r.run(); err != nil {
		return nil, nil, err
	}
	row, err := decide(r.finding())
	if err != nil {
		return nil, nil, err
	}
	var found *CorruptionError
	if row.verdict == refuse {
		found = r.corruption(row)
		if !opts.Mend {
			return nil, nil, found
		}
		if r, row, err = r.openDamaged(opts, row); err != nil {
			return nil, nil, err
		}
		if r == nil {
			l, recovered, err := openLocked(f, opts) // what is there now
			if err == nil {
				recovered.Damage = found
			}
			return l, recovered, err
		}
	}
	l := &Log{files: f, identity: opts.Identity, segmentSize: opts.SegmentSize, groups: r.groups}
	l.building.reset()
	report := Report{Row: row.name, Reason: row.reason, Batches: r.batches, Entries: r.entries, Bytes: r.bytes}
	if err := l.recover(r, row, &report); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("wal: recovering %s: %w", f.dir, err), l.release())
	}
	report.Segments, report.End = len(l.segments), l.tail
	states := r.groups.states()
	for i := range states {
		states[i].Doubt = l.doubts.has(states[i].Group)
		states[i].Damaged = l.damaged(states[i].Group)
	}
	return l, &Recovered{Groups: states, Report: report, Damage: found}, nil
}

// openDamaged finds out how a damaged log can be opened: with wounds that have names, as the replay that is returned has it; or, where
// that is nil, as a new one beside what was put aside. The error is a *CorruptionError where neither is safe.
func (r *replay) openDamaged(opts Options, row recoveryRow) (*replay, recoveryRow, error) {
	again, passed, err := r.past()
	if err == nil && passed.verdict != refuse && passed.verdict != create && (!again.damage.statesLost || r.votesKnown()) {
		if again.adoptVotes(); again.damage.canHeal() {
			return again, passed, nil
		}
	}
	if !r.votesKnown() {
		e := r.corruption(row)
		e.Why += "; and a copy of the votes is damaged, so that this member may have voted in a term that it knows nothing of"
		return nil, row, e
	}
	if err := r.beginAnew(opts); err != nil {
		return nil, row, fmt.Errorf("wal: putting the damaged log in %s aside: %w", r.dir, err)
	}
	return nil, row, nil
}

// corruption is the refusal in words.
func (r *replay) corruption(row recoveryRow) *CorruptionError {
	e := &CorruptionError{Segment: r.end.Segment, File: r.path(segmentName(r.end.Segment)), Offset: r.end.Offset, End: r.written.Offset, Lost: r.lost, Why: row.reason}
	if r.why != nil {
		e.Why = r.why.Error()
	}
	switch {
	case row.place == placeEmpty:
		e.File, e.Why = r.path(segmentName(1)), "all segments of the log are gone"
		e.Proof = row.reason
	case r.end.Less(r.proof.mark):
		e.Proof = fmt.Sprintf("%s proves that everything up to %v was durable", r.proof.by, r.proof.mark)
	default:
		e.Proof = row.reason
	}
	if row.place == placeHead {
		e.Segment = r.badHead
		e.File, e.Offset, e.End, e.Why = r.path(segmentName(r.badHead)), 0, headFixed, r.whyHead.Error()
		if r.nextSound.Segment == r.badHead {
			e.End = r.nextSound.Offset
		}
		return e
	}
	if r.nextSound.Segment == r.end.Segment {
		e.End = r.nextSound.Offset
		return e
	}
	if r.proof.mark.Segment == r.end.Segment {
		e.End = max(e.End, r.proof.mark.Offset)
	}
	e.End = max(e.End, r.sealed)
	return e
}
