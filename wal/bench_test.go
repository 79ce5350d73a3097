package wal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// noDisk takes writes and forgets them, so that what remains is the log's own work.
type noDisk struct{ vfs.FS }

type noFile struct{ vfs.File }

func (d noDisk) Create(name string) (vfs.File, error) {
	file, err := d.FS.Create(name)
	return noFile{file}, err
}

func (noFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (noFile) Sync() error                            { return nil }

// batchOf returns n entries of 256 bytes; replace writes their indexes anew for each use, without their checksums:
// good enough for what nobody reads.
func batchOf(n int) []raft.Entry {
	list := make([]raft.Entry, n)
	for i := range list {
		list[i] = entry(1, raft.Index(i+1), 1, strings.Repeat("v", 256))
	}
	return list
}

func replace(list []raft.Entry, first raft.Index) {
	for i, e := range list {
		order.PutUint64(e[40:], uint64(first)+uint64(i))
	}
}

func TestAppendDoesNotAllocatePerEntry(t *testing.T) {
	l, _, err := Open(noDisk{vfs.NewMem()}, "wal", Options{Identity: testIdentity, SegmentSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	list, next := batchOf(64), raft.Index(1)
	w := &raft.Write{HardState: raft.HardState{Term: 1, Vote: 1}}
	writes := []GroupWrite{{Group: 1, Write: w}}
	w.Entries = list
	allocs := testing.AllocsPerRun(2000, func() {
		replace(list, next)
		next += raft.Index(len(list))
		if err := l.Append(writes); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 {
		t.Fatalf("%.2f allocations for each append of 64 entries", allocs)
	}
}

func benchmarkAppend(b *testing.B, disk vfs.FS, n int) {
	l, _, err := Open(disk, "wal", Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	list, next := batchOf(n), raft.Index(1)
	w := &raft.Write{HardState: raft.HardState{Term: 1, Vote: 1}, Entries: list}
	writes := []GroupWrite{{Group: 1, Write: w}}
	b.ReportAllocs()
	for b.Loop() {
		replace(list, next)
		next += raft.Index(n)
		if err := l.Append(writes); err != nil {
			b.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
	s := l.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Batches), "syncs/batch")
	b.ReportMetric(float64(s.AppendedBytes)/float64(s.Entries), "bytes/entry")
	if _, none := disk.(noDisk); !none {
		mustClose(b, l)
	}
}

// BenchmarkAppendSync is what a leader's disk does: entries of 256 bytes, in batches, each batch synced. The one without a
// disk is the log's own share.
func BenchmarkAppendSync(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("disk/batch=%d", n), func(b *testing.B) { benchmarkAppend(b, vfs.NewOS(b.TempDir()), n) })
		b.Run(fmt.Sprintf("none/batch=%d", n), func(b *testing.B) { benchmarkAppend(b, noDisk{vfs.NewMem()}, n) })
	}
}

// BenchmarkRead reads what was written in batches of one entry, as a follower that is far behind makes a leader do.
func BenchmarkRead(b *testing.B) {
	l, _, err := Open(vfs.NewOS(b.TempDir()), "wal", Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	const count = 20000
	for i := raft.Index(1); i <= count; i++ {
		mustAppend(b, l, write(1, 1, 7, 0, entry(1, i, 1, strings.Repeat("v", 256))))
	}
	at := raft.Index(1)
	read := 0
	b.ReportAllocs()
	for b.Loop() {
		list, err := l.Read(1, at, count+1, 512<<10)
		if err != nil {
			b.Fatal(err)
		}
		read += len(list)
		if at += raft.Index(len(list)); at > count {
			at = 1
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
	mustClose(b, l)
}

// BenchmarkOpen is a restart on 200,000 entries of 256 bytes.
func BenchmarkOpen(b *testing.B) {
	disk := vfs.NewOS(b.TempDir())
	l, _ := mustOpenBench(b, disk)
	for i := raft.Index(1); i <= 200000; i += 50 {
		mustAppend(b, l, write(1, 1, 7, 0, padded(1, i, i+49, 256)...))
	}
	mustClose(b, l)
	for b.Loop() {
		l, r := mustOpenBench(b, disk)
		b.SetBytes(int64(r.Report.Bytes))
		mustClose(b, l)
	}
}

func mustOpenBench(b *testing.B, disk vfs.FS) (*Log, *Recovered) {
	l, r, err := Open(disk, "wal", Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	return l, r
}
