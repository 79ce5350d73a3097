package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// sourceStore returns a store at index 8 with overwritten, deleted and compacted keys, and a member.
func sourceStore(t testing.TB) *fixture {
	f := newFixture(t, engine.NewMemory())
	for _, key := range []string{"a", "b\x00c", "a", "d"} {
		f.put(key, "value of "+key)
	}
	for _, command := range []func() error{
		func() error {
			_, err := f.apply(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("d")}))
			return err
		},
		func() error {
			_, err := f.apply(EncodeCompaction(&pb.CompactionRequest{Revision: 3}))
			return err
		},
		func() error {
			_, err := f.apply(EncodeMember(&pb.Member{ID: 7, Name: "m7"}))
			return err
		},
	} {
		if err := command(); err != nil {
			t.Fatal(err)
		}
	}
	f.put("e", "e")
	return f
}

func (f *fixture) snapshot() []byte {
	f.t.Helper()
	taken, err := f.store.Snapshot()
	if err != nil {
		f.t.Fatal(err)
	}
	var text bytes.Buffer
	_, err = taken.WriteTo(&text)
	if err = errors.Join(err, taken.Close()); err != nil {
		f.t.Fatal(err)
	}
	return text.Bytes()
}

// target is a store at index 3 that gets snapshots which it must refuse.
type target struct {
	*fixture
	home   *engine.MemoryHome
	digest Digest
}

func newTarget(t testing.TB) *target {
	home := engine.NewMemoryHome()
	s, err := OpenHome(home, Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := &target{fixture: &fixture{t: t, store: s}, home: home}
	for range 3 {
		f.put("mine", "mine")
	}
	f.digest, _ = s.Digest()
	return f
}

// refuse restores what must be refused, and looks whether anything has changed.
func (f *target) refuse(name string, text []byte, index balsa.Index, want string) {
	f.t.Helper()
	err := f.store.Restore(balsa.Position{Index: index, Term: 1}, bytes.NewReader(text))
	if err == nil || !strings.Contains(err.Error(), want) {
		f.t.Errorf("%s: got %v, want an error with %q", name, err, want)
	}
	f.unchanged(name)
}

func (f *target) unchanged(name string) {
	f.t.Helper()
	if digest, at := f.store.Digest(); digest != f.digest || at.Index != f.index {
		f.t.Fatalf("%s: index %d with digest %v, was %d with %v", name, at.Index, digest, f.index, f.digest)
	}
	if err := f.store.Verify(f.t.Context()); err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
}

// TestDamagedSnapshotIsRefused cuts a snapshot at every byte, and flips a bit of every byte: the state stays what it was, and
// is written to afterwards; then the snapshot as it was is restored.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	text := sourceStore(t).snapshot()
	f := newTarget(t)
	for i := range text {
		f.refuse("cut", text[:i], 8, "it is cut short")
		flipped := bytes.Clone(text)
		flipped[i] ^= 1 << (i % 8)
		f.refuse("flipped", flipped, 8, "")
	}
	f.refuse("longer", append(bytes.Clone(text), 0), 8, "something follows its end")
	f.put("mine", "again")
	if err := f.store.Restore(balsa.Position{Index: 8, Term: 1}, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if again := f.snapshot(); !bytes.Equal(again, text) {
		t.Fatal("what was restored differs")
	}
}

// forge makes a snapshot whose sums are right as far as the stream goes, of the records that change returns.
func forge(t *testing.T, text []byte, digest func(*Digest), change func([][2][]byte) [][2][]byte) []byte {
	t.Helper()
	in := newStreamReader(bytes.NewReader(text))
	at, err := in.begin()
	if err != nil {
		t.Fatal(err)
	}
	var all [][2][]byte
	for {
		key, value, ok, err := in.record()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		all = append(all, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
	}
	d, err := in.end()
	if err != nil {
		t.Fatal(err)
	}
	digest(&d)
	var forged bytes.Buffer
	out := newStreamWriter(&forged)
	err = out.begin(at)
	for _, r := range change(all) {
		err = errors.Join(err, out.record(r[0], r[1]))
	}
	if err = errors.Join(err, out.end(d)); err != nil {
		t.Fatal(err)
	}
	return forged.Bytes()
}

// TestSnapshotThatDoesNotAddUpIsRefused gives snapshots that are whole, with good hashes, and wrong: what a replica with a
// damaged engine or a bug might send.
func TestSnapshotThatDoesNotAddUpIsRefused(t *testing.T) {
	text := sourceStore(t).snapshot()
	asItIs := func(*Digest) {}
	// edit applies an edit to the n-th record of a space.
	edit := func(space byte, n int, edit func(all [][2][]byte, i int) [][2][]byte) func([][2][]byte) [][2][]byte {
		return func(all [][2][]byte) [][2][]byte {
			for i := range all {
				if all[i][0][0] == space {
					if n--; n < 0 {
						return edit(all, i)
					}
				}
			}
			t.Fatalf("there is no such record of space %q", space)
			return nil
		}
	}
	drop := func(all [][2][]byte, i int) [][2][]byte { return append(all[:i], all[i+1:]...) }
	value := func(change func([]byte) []byte) func([][2][]byte, int) [][2][]byte {
		return func(all [][2][]byte, i int) [][2][]byte {
			all[i][1] = change(all[i][1])
			return all
		}
	}
	last := func(v []byte) []byte { v[len(v)-1]++; return v }
	f := newTarget(t)
	for name, c := range map[string]struct {
		change func([][2][]byte) [][2][]byte
		want   string
	}{
		"index record missing":      {edit(spaceIndex, 1, drop), "its revision log has"},
		"log record missing":        {edit(spaceLog, 3, drop), "its revision log has"},
		"value changed":             {edit(spaceLog, 0, value(last)), "its revision log has"},
		"value hash changed":        {edit(spaceIndex, 0, value(last)), "its revision log has"},
		"member missing":            {edit(spaceMember, 0, drop), "its members, alarms and quota have digest"},
		"member changed":            {edit(spaceMember, 0, value(last)), "its members, alarms and quota have digest"},
		"counters missing":          {edit(spaceMeta, 0, drop), "its state is of index 0"},
		"counters of another index": {edit(spaceMeta, 0, value(func(v []byte) []byte { v[3]++; return v })), "its state is of index 9"},
		"another compact revision":  {edit(spaceMeta, 0, value(func(v []byte) []byte { v[3+3*8]++; return v })), "its versions add up to"},
		"another revision":          {edit(spaceMeta, 0, value(func(v []byte) []byte { v[3+2*8]++; return v })), "its digest is"},
		"counters of a later format": {edit(spaceMeta, 0, value(func(v []byte) []byte { v[0]++; return v })),
			"use the version of balsa that wrote it"},
		"both records of a version missing": {func(all [][2][]byte) [][2][]byte {
			return edit(spaceIndex, 0, drop)(edit(spaceLog, 2, drop)(all)) // the newest version of a
		}, "its versions add up to"},
		"out of order": {edit(spaceLog, 1, func(all [][2][]byte, i int) [][2][]byte {
			all[i], all[i+1] = all[i+1], all[i]
			return all
		}), "comes after"},
		"twice": {edit(spaceLog, 1, func(all [][2][]byte, i int) [][2][]byte {
			return append(all[:i+1], all[i:]...)
		}), "comes after"},
		"unknown kind": {func(all [][2][]byte) [][2][]byte {
			return append(all, [2][]byte{[]byte("zz"), []byte("later")})
		}, "does not know"},
	} {
		f.refuse(name, forge(t, text, asItIs, c.change), 8, c.want)
	}
	unchanged := func(all [][2][]byte) [][2][]byte { return all }
	f.refuse("another digest", forge(t, text, func(d *Digest) { d.B++ }, unchanged), 8, "its digest is")
	f.refuse("another position", text, 9, "it is of index 8")
	f.refuse("an old position", text, 3, "is applied already")
	if err := f.store.Restore(balsa.Position{Index: 8, Term: 1}, bytes.NewReader(forge(t, text, asItIs, unchanged))); err != nil {
		t.Fatal(err)
	}
}

// TestStreamOfALaterVersion reads heads that a later version may write.
func TestStreamOfALaterVersion(t *testing.T) {
	text := sourceStore(t).snapshot()
	f := newTarget(t)
	for i, want := range map[int]string{
		4: "use the version of balsa that wrote it", 7: "use the version of balsa that wrote it", 0: "it begins with",
	} {
		later := bytes.Clone(text)
		later[i]++
		f.refuse("later", later, 8, want)
	}
	longer := append(bytes.Clone(text[:streamHeadSize]), "new"...)
	longer[6] = 1 // a compatible feature
	binary.LittleEndian.PutUint32(longer[8:], streamHeadSize+3)
	longer = append(longer, text[streamHeadSize:len(text)-8]...)
	in := newStreamReader(bytes.NewReader(nil))
	_, _ = in.hash.Write(longer)
	longer = binary.LittleEndian.AppendUint64(longer, in.hash.Sum64())
	if err := f.store.Restore(balsa.Position{Index: 8, Term: 1}, bytes.NewReader(longer)); err != nil {
		t.Fatal(err)
	}
}

// watchedEngine looks at something whenever a snapshot of it is made.
type watchedEngine struct {
	engine.Engine
	look func()
}

func (w *watchedEngine) NewSnapshot() engine.Snapshot {
	w.look()
	return w.Engine.NewSnapshot()
}

// TestSnapshotIsOfOneMoment looks whether anybody could write between the moment at which the position is taken and that of
// the records.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	watched := &watchedEngine{Engine: engine.NewMemory()}
	f := newFixture(t, watched)
	f.put("a", "1")
	watched.look = func() {
		if f.store.writing.TryLock() {
			t.Error("a batch could be applied between position and records")
			f.store.writing.Unlock()
		}
	}
	f.snapshot()
	if err := f.store.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// FuzzRestore gives Restore anything: it does not panic, and what it refuses changes nothing.
func FuzzRestore(f *testing.F) {
	text := sourceStore(f).snapshot()
	f.Add(text)
	f.Add(text[:100])
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newTarget(t)
		if err := w.store.Restore(balsa.Position{Index: 8, Term: 1}, bytes.NewReader(text)); err != nil {
			w.unchanged("fuzz")
		} else if err := w.store.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
