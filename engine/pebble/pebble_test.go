package pebble_test

import (
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
