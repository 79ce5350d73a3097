package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

// configuration returns a placed frame that holds a configuration.
func configuration(group raft.GroupID, index raft.Index, term raft.Term) raft.Entry {
	e := raft.SealedEntry(raft.EntryConfiguration, []byte("who takes part"))
	copy(e[32:], entry(group, index, term, "")[32:])
	binary.LittleEndian.PutUint32(e[28:], crc32.Update(crc32.Checksum(e[24:28], castagnoli), castagnoli, e[32:raft.EntryHeaderSize]))
	return e
}

// Recovery tells the entries that hold configurations: those that the log holds in the end, of each group, and none that were replaced, given
// up, or lie before a new beginning (E34).
func TestRecoveryTellsConfigurations(t *testing.T) {
	fs := vfs.NewMem()
	expect := func(why string, want ...raft.Position) *Log {
		t.Helper()
		l, r := mustOpen(t, fs)
		var got []raft.Position
		for _, g := range r.Groups {
			for _, e := range g.Configurations {
				if err := e.Check(); err != nil || e.Group() != g.Group {
					t.Errorf("%s: %v of group %d for %d: %v", why, e.Position(), e.Group(), g.Group, err)
				}
				got = append(got, e.Position())
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: %v, want %v", why, got, want)
		}
		return l
	}
	done := func(l *Log) {
		t.Helper()
		mustSync(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	at := func(index raft.Index, term raft.Term) raft.Position { return raft.Position{Index: index, Term: term} }

	l := expect("a new log")
	mustAppend(t, l, write(1, 1, 1, 0, entry(1, 1, 1, "a"), configuration(1, 2, 1), entry(1, 3, 1, "b")), write(2, 1, 1, 0, configuration(2, 1, 1)))
	mustAppend(t, l, write(1, 1, 1, 1, configuration(1, 4, 1), entry(1, 5, 1, "c")))
	done(l)
	l = expect("several", at(2, 1), at(4, 1), at(1, 1))
	mustAppend(t, l, write(1, 2, 1, 1, entry(1, 4, 2, "instead")))
	done(l)
	l = expect("one was replaced", at(2, 1), at(1, 1))
	for i := raft.Index(5); i < 200; i++ { // into other segments
		mustAppend(t, l, write(1, 2, 1, i-1, entries(1, i, i, 2)...))
	}
	mustAppend(t, l, write(1, 2, 1, 199, configuration(1, 200, 2)))
	done(l)
	l = expect("in other segments", at(2, 1), at(200, 2), at(1, 1))
	mustSync(t, l)
	if err := l.Discard(1, at(100, 2)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, write(1, 2, 1, 200, entries(1, 201, 201, 2)...))
	done(l)
	l = expect("the first was given up", at(200, 2), at(1, 1))
	anew := write(1, 3, 1, 300)
	anew.Write.Restart = at(300, 3)
	mustAppend(t, l, anew)
	done(l)
	done(expect("the log begins anew", at(1, 1)))
}
