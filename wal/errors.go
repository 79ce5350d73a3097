package wal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/balsadb/balsa/raft"
)

var (
	// ErrFailed is wrapped by everything that a log returns after a write or a sync failed: nothing that was in flight may be
	// trusted, and nothing is tried again on those files (E45). Only opening the directory anew tells what it holds.
	ErrFailed = errors.New("the log has failed and must be opened anew")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrInvalidWrite is wrapped where a write does not follow from what the log holds: an error of the caller.
	ErrInvalidWrite = errors.New("invalid write")
	// ErrNotInLog is wrapped by Read where the log does not hold what was asked for.
	ErrNotInLog = errors.New("not in the log")
	// ErrCompacted is wrapped by Read where what was asked for is at or below the group's floor: it was given up, or was
	// replaced by a snapshot.
	ErrCompacted = errors.New("no longer in the log")
)

// IdentityError says that a directory holds somebody else's log. Nothing was changed.
type IdentityError struct {
	File      string
	Want, Got Identity
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("%s: this is the log of %v, but this member is %v; nothing was changed: start it with its own directory, or with an empty one",
		e.File, e.Got, e.Want)
}

// VersionError says that a file needs another release. Nothing was changed.
type VersionError struct {
	File         string
	Version      uint8
	Incompatible uint8 // the incompatible features that the file says it uses
}

func (e *VersionError) Error() string {
	if e.Version != formatVersion {
		return fmt.Sprintf("%s: log format version %d, this build reads version %d; nothing was changed: use the release that wrote it, or a later one",
			e.File, e.Version, formatVersion)
	}
	return fmt.Sprintf("%s: the log uses features (bits %#02x) that this build does not know; nothing was changed: use the release that wrote it, or a later one",
		e.File, e.Incompatible)
}

// LostRun names entries of one group that a bad region held.
type LostRun struct {
	Group raft.GroupID `json:"group"`
	First raft.Index   `json:"first"`
	Last  raft.Index   `json:"last"`
	// Term is 0 where it is not known: a gap between what is before and after the region says only which indexes are missing.
	Term raft.Term `json:"term"`
}

func (r LostRun) String() string {
	entries := fmt.Sprintf("entries %d to %d", r.First, r.Last)
	if r.First == r.Last {
		entries = fmt.Sprintf("entry %d", r.First)
	}
	if r.Term == 0 {
		return fmt.Sprintf("group %d %s (term not known)", r.Group, entries)
	}
	return fmt.Sprintf("group %d %s of term %d", r.Group, entries, r.Term)
}

// CorruptionError says that bytes which may have been acknowledged are not what was written. The log does not
// start on them, and cuts nothing: what is lost must come from somewhere else.
type CorruptionError struct {
	Segment uint64 // 0 where all are gone
	File    string
	Offset  int64  // where the bad region begins
	End     int64  // where the next sound record begins, or the file ends
	Why     string // what is wrong there
	Proof   string // how it is known that the bytes were durable
	// Lost names what the region held, as far as the rest of the log knows. What those records replaced is not known.
	Lost []LostRun
}

func (e *CorruptionError) Error() string {
	return e.Found() + "; nothing was changed. Acknowledged writes may be gone from this member: restore the file from a sound copy, " +
		"or replace the member by a new one with an empty directory, as long as a majority of the others is well"
}

// Found says what is damaged, where, and what is lost.
func (e *CorruptionError) Found() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: corrupt from byte %d to %d: %s", e.File, e.Offset, e.End, e.Why)
	if e.Proof != "" {
		fmt.Fprintf(&b, "; this is no torn tail: %s", e.Proof)
	}
	b.WriteString("; lost: ")
	for i, run := range e.Lost {
		if i == maxNamed {
			fmt.Fprintf(&b, " and %d more runs", len(e.Lost)-maxNamed)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(run.String())
	}
	if len(e.Lost) == 0 {
		b.WriteString("nothing that the rest of the log names")
	}
	return b.String()
}

// maxNamed bounds the runs that an error's sentence names; the error's Lost has all.
const maxNamed = 8
