package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/server"
	"github.com/balsadb/balsa/vfs"
)

// A member whose disk failed has nothing left to do: what it had in flight is answered as unknown, another leads, and the process ends with
// the reason, so that whoever watches it knows, and clients go elsewhere. It is not started again before somebody has looked: the same
// disk would be trusted with the same log.

// diskFailure is why a member stops whose disk is broken.
type diskFailure struct{ cause string }

func (e *diskFailure) Error() string {
	return fmt.Sprintf("%s; this member has stopped, and the others go on without it: see to the disk (dmesg, smartctl), then start it again; "+
		"where its data is lost, remove the member and add it anew", e.cause)
}

// watchful observes for the metrics, and ends the member where its disk failed.
type watchful struct {
	*server.Metrics
	member *member
}

// TroubleChanged implements balsa.Observer.
func (w watchful) TroubleChanged(t balsa.Trouble, stands bool) {
	w.Metrics.TroubleChanged(t, stands)
	if !stands {
		return
	}
	g := w.member.started.Load()
	if t.Kind == balsa.TroubleDisk || t.Kind == balsa.TroubleFenced && g != nil && errors.Is(g.Err(), engine.ErrFailed) {
		select {
		case w.member.failed <- &diskFailure{t.Text}:
		default: // it ends already
		}
	}
}

// failSync is what --testing-fail-log-sync does.
type failSync struct {
	vfs.FS
	when string
}

func (f failSync) Create(name string) (vfs.File, error) { return f.file(f.FS.Create(name)) }
func (f failSync) Open(name string) (vfs.File, error)   { return f.file(f.FS.Open(name)) }

func (f failSync) file(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return failSyncFile{file, f.when}, nil
}

type failSyncFile struct {
	vfs.File
	when string
}

func (f failSyncFile) Sync() error {
	if _, err := os.Stat(f.when); err == nil {
		return errors.New("input/output error (--testing-fail-log-sync)")
	}
	return f.File.Sync()
}
