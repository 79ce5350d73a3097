package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

var testIdentity = Identity{Cluster: 0xc1, Member: 0xa1, DataDir: [16]byte{1, 2, 3}}

func testOptions() Options { return Options{Identity: testIdentity, SegmentSize: 8 << 10} }

// entry returns a placed frame, made as a leader makes it.
func entry(group raft.GroupID, index raft.Index, term raft.Term, payload string) raft.Entry {
	e := raft.SealedEntry(raft.EntryNormal, []byte(payload))
	binary.LittleEndian.PutUint64(e[32:], uint64(group))
	binary.LittleEndian.PutUint64(e[40:], uint64(index))
	binary.LittleEndian.PutUint64(e[48:], uint64(term))
	sum := crc32.Update(crc32.Checksum(e[24:28], castagnoli), castagnoli, e[32:raft.EntryHeaderSize])
	binary.LittleEndian.PutUint32(e[28:], sum)
	return e
}

// entries returns frames [first, last] of one term.
func entries(group raft.GroupID, first, last raft.Index, term raft.Term) []raft.Entry {
	var list []raft.Entry
	for i := first; i <= last; i++ {
		list = append(list, entry(group, i, term, fmt.Sprintf("g%d i%d t%d", group, i, term)))
	}
	return list
}

func write(group raft.GroupID, term raft.Term, vote raft.MemberID, commit raft.Index, list ...raft.Entry) GroupWrite {
	return GroupWrite{Group: group, Write: &raft.Write{HardState: raft.HardState{Term: term, Vote: vote}, Commit: commit, Entries: list}}
}

func mustOpen(t testing.TB, fs vfs.FS) (*Log, *Recovered) {
	t.Helper()
	l, r, err := Open(fs, "wal", testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func mustAppend(t testing.TB, l *Log, writes ...GroupWrite) {
	t.Helper()
	if err := l.Append(writes); err != nil {
		t.Fatal(err)
	}
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkEntries compares what the log holds with want, index by index.
func checkEntries(t testing.TB, l *Log, group raft.GroupID, want []raft.Entry) {
	t.Helper()
	if len(want) == 0 {
		return
	}
	low, high := want[0].Index(), want[len(want)-1].Index()+1
	var got []raft.Entry
	for low < high {
		part, err := l.Read(group, low, high, 300)
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			t.Fatalf("no entry at %d", low)
		}
		got = append(got, part...)
		low += raft.Index(len(part))
	}
	if len(got) != len(want) {
		t.Fatalf("group %d: %d entries, want %d", group, len(got), len(want))
	}
	for i := range want {
		if string(got[i]) != string(want[i]) {
			t.Fatalf("group %d: got %v %q, want %v %q", group, got[i].Position(), got[i].Payload(), want[i].Position(), want[i].Payload())
		}
	}
}

func TestAppendSyncReadReopen(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "os": vfs.NewOS(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			l, r := mustOpen(t, fs)
			if len(r.Groups) != 0 || r.Report.Row != "new" {
				t.Fatalf("a new log: %+v", r)
			}
			one, two := entries(1, 1, 300, 1), entries(2, 1, 50, 4)
			for i := 0; i < 300; i += 3 {
				mustAppend(t, l, write(1, 1, 7, raft.Index(i), one[i:i+3]...), write(2, 4, 0, 0, two[i/6:i/6+(i/3)%2]...))
				mustSync(t, l)
				if i%30 == 0 && l.NeedsPrepare() {
					if err := l.Prepare(); err != nil {
						t.Fatal(err)
					}
				}
			}
			checkEntries(t, l, 1, one)
			checkEntries(t, l, 2, two)
			if l.Stats().Segments < 3 {
				t.Fatalf("it did not roll: %+v", l.Stats())
			}
			mustClose(t, l)

			l, r = mustOpen(t, fs)
			defer mustClose(t, l)
			if r.Report.Row != "clean end" {
				t.Fatalf("%+v", r.Report)
			}
			if len(r.Groups) != 2 {
				t.Fatalf("%+v", r.Groups)
			}
			g := r.Groups[0]
			if g.Group != 1 || g.HardState != (raft.HardState{Term: 1, Vote: 7}) || g.Last != 300 || g.Commit != 297 || len(g.Runs) != 1 {
				t.Fatalf("%+v", g)
			}
			checkEntries(t, l, 1, one)
			checkEntries(t, l, 2, two)
		})
	}
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
