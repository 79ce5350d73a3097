package pebble

import (
	"log/slog"
	"math"

	"github.com/balsadb/balsa/engine"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options says how a directory is opened. The zero value is right for a server.
type Options struct {
	// FS is where the directory is; the operating system's files by default. Tests give a crashable one.
	FS vfs.FS
	// Logger is told of failures, and of Pebble's doings at the debug level. Silent by default.
	Logger *slog.Logger
	// CacheBytes is the memory for blocks that were read. 64 MiB by default; more helps where the keys that are
	// read and written at random do not fit. Keep it above the memtables (MemTableBytes, up to four times).
	CacheBytes int64
	// MemTableBytes is the memory for changes that were not flushed. 16 MiB by default. Larger ones are
	// flushed less often and make a restart replay more of the log.
	MemTableBytes uint64
	// Deterministic is for the simulator: nothing is flushed but by Flush, nothing is compacted, read sampling and
	// statistics are off. The caller writes no more than an eighth of MemTableBytes (16 MiB by default here)
	// before the first Flush, and no more than a quarter between two.
	Deterministic bool
	// OnDamage is told, once for each engine, that what it has stored is not what it wrote. The engine has failed then. It is called
	// from wherever that was noticed, and must not block.
	OnDamage func(error)

	// NoSpace is called where a write finds no space on the disk, by who writes; it reports whether there may be some now. What finds none is
	// tried again until there is: nothing of the engine fails for it, and writers wait. Without it a full disk is an error like any other.
	NoSpace func() bool

	readOnly bool
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	cacheBytes, memTableBytes := int64(64<<20), uint64(16<<20)
	if o.Deterministic {
		cacheBytes, memTableBytes = 4<<20, 16<<20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = memTableBytes
	}
	return o
}

// comparer orders keys by their bytes and tells Pebble where the versions of a name begin. Its name is on disk.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "balsa.engine.v1"
	c.Split = engine.Split
	c.ImmediateSuccessor = engine.AppendSuccessor
	return &c
}()

// pebble translates options into Pebble's own.
func (o Options) pebble(fs vfs.FS, cache *pebble.Cache, health *health, pressure *pressure) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		Comparer:                    comparer,
		DisableWAL:                  true,
		ReadOnly:                    o.readOnly,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		Logger:                      health,
		EventListener:               health.events(pressure),
		MemTableSize:                o.MemTableBytes,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
		DisableAutomaticCompactions: o.Deterministic,
		DisableTableStats:           o.Deterministic,
		// Writers wait in our own code, where a failure wakes them (pressure).
		MemTableStopWritesThreshold: math.MaxInt32,
		L0StopWritesThreshold:       math.MaxInt32,
	}
	p.TargetFileSizes[0] = 4 << 20
	p.Levels[0] = pebble.LevelOptions{
		BlockSize:      8 << 10,
		IndexBlockSize: 64 << 10,
		FilterPolicy:   bloom.FilterPolicy(10),
	}
	if o.Deterministic {
		p.Experimental.ReadSamplingMultiplier = -1
	}
	return p
}
