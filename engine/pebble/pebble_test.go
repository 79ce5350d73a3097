package pebble_test

import (
	"errors"
	"testing"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/enginetest"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/cockroachdb/pebble/v2/vfs"
)

type memDisk struct {
	fs      *vfs.MemFS
	options pebble.Options
}

func (d *memDisk) Open() (engine.Engine, error) { return d.open("state") }

func (d *memDisk) open(dir string) (engine.Engine, error) {
	options := d.options
	options.FS = d.fs
	return pebble.Open(dir, options)
}

func (d *memDisk) Crash() enginetest.Disk {
	return &memDisk{d.fs.CrashClone(vfs.CrashCloneCfg{}), d.options}
}

func (d *memDisk) OpenCheckpoint(dir string) (engine.Engine, error) { return d.open(dir) }

func newDisk(options pebble.Options) enginetest.Disk {
	return &memDisk{vfs.NewCrashableMem(), options}
}

func TestPebbleConforms(t *testing.T) {
	small := pebble.Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
	enginetest.Run(t, func() enginetest.Disk { return newDisk(small) }, enginetest.Options{FlushesItself: true})
}

func TestDeterministicPebbleConforms(t *testing.T) {
	options := pebble.Options{Deterministic: true, MemTableBytes: 1 << 20}
	enginetest.Run(t, func() enginetest.Disk { return newDisk(options) }, enginetest.Options{})
}

// TestDeterministicPebbleDoesNotWait writes over the same keys through more flushes than level 0 may have sublevels: with compactions
// switched off nobody makes them fewer, and a writer that waited for that would wait for ever.
func TestDeterministicPebbleDoesNotWait(t *testing.T) {
	e, err := pebble.Open("state", pebble.Options{FS: vfs.NewMem(), Deterministic: true, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 60 {
		b := e.NewBatch()
		for _, name := range []string{"a", "z"} {
			b.Set(append(engine.AppendHeader(nil, 1, 0), name...), make([]byte, 20<<10))
		}
		if err := e.Apply(b); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Close(), e.Flush()); err != nil {
			t.Fatal(err)
		}
	}
}
