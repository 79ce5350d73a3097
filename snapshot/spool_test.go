package snapshot

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/vfs"
)

func entry(index raft.Index) Entry {
	return Entry{Group: 1, Position: raft.Position{Index: index, Term: 7}}
}

// textOf returns a snapshot whose state tells its index.
func textOf(t *testing.T, index raft.Index) []byte {
	state := bytes.Repeat([]byte{byte(index)}, chunkPayload+100)
	return write(t, Meta{Group: 1, Position: raft.Position{Index: index, Term: 7}}, state)
}

func openSpool(t *testing.T, fsys vfs.FS) *Spool {
	t.Helper()
	s, err := OpenSpool(fsys, "spool")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put spools a snapshot in pieces.
func put(s *Spool, e Entry, text []byte) error {
	part, err := s.Create(e)
	if err != nil {
		return err
	}
	for len(text) > 0 {
		n := min(len(text), 60_000)
		if _, err := part.Write(text[:n]); err != nil {
			return errors.Join(err, part.Abort())
		}
		text = text[n:]
	}
	return part.Commit()
}

// check lists a spool and reads everything in it, which must be whole.
func check(t *testing.T, s *Spool) []raft.Index {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var indexes []raft.Index
	for _, e := range all {
		f, err := s.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		state, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(state, bytes.Repeat([]byte{byte(e.Position.Index)}, chunkPayload+100)) {
			t.Fatalf("index %d: %d bytes, %v", e.Position.Index, len(state), err)
		}
		raw, err := io.ReadAll(f.Raw(10))
		if err != nil || !bytes.Equal(raw, textOf(t, e.Position.Index)[10:]) || f.Size() != int64(len(raw)+10) {
			t.Fatalf("index %d: %d raw bytes, %v", e.Position.Index, len(raw), err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, e.Position.Index)
	}
	return indexes
}

func TestSpoolKeepsAndRemoves(t *testing.T) {
	disk := vfs.NewMem()
	s := openSpool(t, disk)
	if _, found, err := s.Newest(1); found || err != nil {
		t.Fatal(found, err)
	}
	for _, index := range []raft.Index{20, 16, 9, 20} {
		if err := put(s, entry(index), textOf(t, index)); err != nil {
			t.Fatal(err)
		}
	}
	other := Entry{Group: 2, Position: raft.Position{Index: 5, Term: 1}}
	if err := put(s, other, write(t, Meta{Group: 2, Position: other.Position})); err != nil {
		t.Fatal(err)
	}
	if newest, found, err := s.Newest(1); newest != entry(20) || !found || err != nil {
		t.Fatal(newest, found, err)
	}
	if err := s.RemoveOlder(1, 20); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); !slices.Equal(all, []Entry{entry(20), other}) || err != nil {
		t.Fatal(all, err)
	}
}

// TestE27PowerCutInAnyStepOfSpooling cuts the power before every change of the disk while one snapshot after another is
// spooled, and those before it removed. What is found is whole, and not older than the last that was committed.
func TestE27PowerCutInAnyStepOfSpooling(t *testing.T) {
	texts := map[raft.Index][]byte{}
	indexes := []raft.Index{1, 2, 3}
	for _, index := range indexes {
		texts[index] = textOf(t, index)
	}
	for cutAt, done := uint64(1), false; !done; cutAt++ {
		disk := vfs.NewMem()
		var after *vfs.Mem
		random := rand.New(rand.NewPCG(cutAt, 27))
		disk.OnOp(func(op vfs.Op) error {
			if op.N == cutAt {
				after = disk.PowerCut(random.Uint64)
				return vfs.ErrPowerOff
			}
			return nil
		})
		committed := raft.Index(0)
		s, err := OpenSpool(disk, "spool")
		for _, index := range indexes {
			if err == nil {
				if err = put(s, entry(index), texts[index]); err == nil {
					committed = index
					err = s.RemoveOlder(1, index)
				}
			}
		}
		if done = after == nil; done {
			after = disk.PowerCut(nil)
		}
		s = openSpool(t, after)
		check(t, s)
		if newest, found, err := s.Newest(1); err != nil || found != (newest.Position.Index > 0) || newest.Position.Index < committed {
			t.Fatalf("cut at operation %d: the newest is %v, %v; index %d was committed", cutAt, newest, err, committed)
		}
		names, err := after.List("spool")
		if err != nil || slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, partSuffix) }) {
			t.Fatalf("cut at operation %d: %q, %v", cutAt, names, err)
		}
	}
}

// TestE45BrokenDiskWhileSpooling fails each change of the disk: the snapshot is refused, the one before it is there, and
// a second try with a disk that is well succeeds.
func TestE45BrokenDiskWhileSpooling(t *testing.T) {
	broken := errors.New("the disk is broken")
	text := textOf(t, 2)
	for failAt, done := uint64(1), false; !done; failAt++ {
		disk := vfs.NewMem()
		s := openSpool(t, disk)
		if err := put(s, entry(1), textOf(t, 1)); err != nil {
			t.Fatal(err)
		}
		var ops uint64
		var last vfs.OpKind
		disk.OnOp(func(op vfs.Op) error {
			if ops++; ops == failAt {
				last = op.Kind
				return broken
			}
			return nil
		})
		err := put(s, entry(2), text)
		disk.OnOp(nil)
		if done = ops < failAt; done != (err == nil) || err != nil && !errors.Is(err, broken) {
			t.Fatalf("operation %d failed, and spooling says %v", failAt, err)
		}
		want := []raft.Index{1}
		if done || last == vfs.OpSyncDir {
			want = []raft.Index{1, 2}
		}
		if found := check(t, s); !slices.Equal(found, want) {
			t.Fatalf("operation %d failed: %v are there, want %v", failAt, found, want)
		}
		if err := put(s, entry(2), text); err != nil {
			t.Fatal(err)
		}
		if found := check(t, openSpool(t, disk.PowerCut(nil))); !slices.Equal(found, []raft.Index{1, 2}) {
			t.Fatal(found)
		}
	}
}

// TestSpoolRefuses commits parts that are no whole snapshot of what they should be: nothing is left of them.
func TestSpoolRefuses(t *testing.T) {
	good := textOf(t, 1)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"empty":          {nil, ErrCutShort},
		"cut short":      {good[:len(good)-1], ErrCutShort},
		"without a foot": {good[:len(good)-footSize], ErrCutShort},
		"flipped":        {flipped, ErrDamaged},
		"longer":         {append(bytes.Clone(good), 0), ErrDamaged},
		"another's":      {textOf(t, 2), ErrDamaged},
	} {
		disk := vfs.NewMem()
		s := openSpool(t, disk)
		if err := put(s, entry(1), c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if names, err := disk.List("spool"); len(names) > 0 || err != nil {
			t.Errorf("%s: %q are left, %v", name, names, err)
		}
	}
}

// TestRotIsNoticed flips a byte of a snapshot that lies in the spool.
func TestRotIsNoticed(t *testing.T) {
	disk := vfs.NewMem()
	s := openSpool(t, disk)
	if err := put(s, entry(1), textOf(t, 1)); err != nil {
		t.Fatal(err)
	}
	if !disk.Flip("spool/"+entry(1).name()+wholeSuffix, 70_000, 4) {
		t.Fatal("there is no such byte")
	}
	f, err := s.Open(entry(1))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestPartEnds uses a part after its end.
func TestPartEnds(t *testing.T) {
	disk := vfs.NewMem()
	s := openSpool(t, disk)
	part, err := s.Create(entry(1))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Create(entry(1)) // two of the same do not meet
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Write(textOf(t, 1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(part.Abort(), part.Abort(), second.Commit(), second.Abort()); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write([]byte("x")); err == nil {
		t.Error("an aborted part was written")
	}
	if err := second.Commit(); err == nil {
		t.Error("a part was committed twice")
	}
	if found := check(t, s); !slices.Equal(found, []raft.Index{1}) {
		t.Fatal(found)
	}
}
