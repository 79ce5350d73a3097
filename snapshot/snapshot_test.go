package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/balsadb/balsa/raft"
	"pgregory.net/rapid"
)

var someMeta = Meta{Group: 1, Position: raft.Position{Index: 300, Term: 7}, Runtime: []byte("members")}

// write returns a snapshot of the given state, which is written in the given cuts.
func write(t interface{ Fatal(...any) }, meta Meta, cuts ...[]byte) []byte {
	var text bytes.Buffer
	w, err := NewWriter(&text, meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range cuts {
		if n, err := w.Write(cut); n != len(cut) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil || w.Written() != int64(text.Len()) {
		t.Fatal(err, w.Written(), text.Len())
	}
	return text.Bytes()
}

func read(from io.Reader) (Meta, []byte, error) {
	r, err := NewReader(from)
	if err != nil {
		return Meta{}, nil, err
	}
	state, err := io.ReadAll(r)
	return r.Meta(), state, err
}

// someState returns bytes that no two places of share.
func someState(size int) []byte {
	state := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(state)
	return state
}

// TestWhatIsWrittenIsRead writes states of many sizes in any cuts, and reads them in any cuts.
func TestWhatIsWrittenIsRead(t *testing.T) {
	state := someState(3 * chunkPayload)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, 100, chunkPayload - 1, chunkPayload, chunkPayload + 1, 2 * chunkPayload, 3 * chunkPayload}).Draw(t, "size")
		var cuts [][]byte
		for rest := state[:size]; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			cuts = append(cuts, rest[:n])
			rest = rest[n:]
		}
		meta := Meta{Group: 3, Position: raft.Position{Index: 9, Term: 2}, Runtime: rapid.SliceOf(rapid.Byte()).Draw(t, "runtime")}
		text := write(t, meta, cuts...)
		behind := bytes.NewReader(append(bytes.Clone(text), "what follows"...))
		var from io.Reader = behind
		if rapid.Bool().Draw(t, "halves") {
			from = iotest.HalfReader(from)
		}
		found, got, err := read(from)
		if err != nil || !bytes.Equal(got, state[:size]) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
		if found.Group != meta.Group || found.Position != meta.Position || !bytes.Equal(found.Runtime, meta.Runtime) {
			t.Fatalf("%+v, want %+v", found, meta)
		}
		if behind.Len() != len("what follows") {
			t.Fatalf("%d bytes are left behind the foot", behind.Len())
		}
		r, err := NewReader(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var copied bytes.Buffer
		if n, err := r.WriteTo(&copied); n != int64(size) || err != nil || !bytes.Equal(copied.Bytes(), state[:size]) {
			t.Fatal(n, err)
		}
	})
}

// TestPiecesAreWhole looks at what the writer below gets: the transport sends each as a message.
func TestPiecesAreWhole(t *testing.T) {
	var sizes []int
	w, err := NewWriter(writerFunc(func(p []byte) (int, error) {
		if size := binary.LittleEndian.Uint32(p[12:]); int(size) != len(p) {
			t.Errorf("a piece of %d bytes says %d", len(p), size)
		}
		sizes = append(sizes, len(p))
		return len(p), nil
	}), someMeta)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if _, err := w.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || len(sizes) != 1+3+1 {
		t.Fatal(sizes, err)
	}
}

// TestWriterStopsAtItsFirstError fails each piece: nothing is written after it, and Close says so.
func TestWriterStopsAtItsFirstError(t *testing.T) {
	broken := errors.New("broken")
	for fail := range 4 {
		pieces := 0
		w, err := NewWriter(writerFunc(func(p []byte) (int, error) {
			if pieces++; pieces > fail {
				return 0, broken
			}
			return len(p), nil
		}), someMeta)
		if err == nil {
			_, err = w.Write(make([]byte, 2*chunkPayload))
			if closed := w.Close(); !errors.Is(closed, broken) || err != nil && !errors.Is(err, broken) {
				t.Fatalf("piece %d: Write says %v, Close %v", fail, err, closed)
			}
		} else if fail > 0 || !errors.Is(err, broken) {
			t.Fatal(fail, err)
		}
		if pieces != fail+1 {
			t.Fatalf("%d pieces were written after the failure", pieces-fail-1)
		}
	}
}

// places returns offsets of a snapshot worth damaging: all of the heads and the foot, and some of each payload.
func places(text []byte) []int {
	var all []int
	for start := 0; start < len(text); {
		size := int(binary.LittleEndian.Uint32(text[start+12:]))
		for i := range min(size, 64) {
			all = append(all, start+i)
		}
		for i := 64; i < size; i += 9001 {
			all = append(all, start+i)
		}
		start += size
		all = append(all, start-1)
	}
	return all
}

// TestDamageIsNoticed cuts a snapshot short and flips a bit at every place that is worth it.
func TestDamageIsNoticed(t *testing.T) {
	text := write(t, someMeta, someState(2*chunkPayload+500))
	for _, i := range places(text) {
		if _, _, err := read(bytes.NewReader(text[:i])); !errors.Is(err, ErrCutShort) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		flipped := bytes.Clone(text)
		flipped[i] ^= 1 << (i % 8)
		_, _, err := read(bytes.NewReader(flipped))
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCutShort) {
			t.Fatalf("a bit flipped at %d: %v", i, err)
		}
	}
}

// records cuts a snapshot into its records.
func records(text []byte) [][]byte {
	var all [][]byte
	for len(text) > 0 {
		size := binary.LittleEndian.Uint32(text[12:])
		all = append(all, text[:size:size])
		text = text[size:]
	}
	return all
}

// TestRecordsOfOthersAreNoticed puts together what is good piece by piece, and not as a whole.
func TestRecordsOfOthersAreNoticed(t *testing.T) {
	a := records(write(t, someMeta, someState(3*chunkPayload)))
	meta := someMeta
	meta.Position.Index++
	b := records(write(t, meta, someState(3*chunkPayload)))
	for name, parts := range map[string][][]byte{
		"chunk of another":    {a[0], b[1], a[2], a[3], a[4]},
		"foot of another":     {a[0], a[1], a[2], a[3], b[4]},
		"head of another":     {b[0], a[1], a[2], a[3], a[4]},
		"chunk missing":       {a[0], a[1], a[3], a[4]},
		"last chunk missing":  {a[0], a[1], a[2], a[4]},
		"chunk twice":         {a[0], a[1], a[1], a[2], a[3], a[4]},
		"last chunk twice":    {a[0], a[1], a[2], a[3], a[3], a[4]},
		"chunks swapped":      {a[0], a[2], a[1], a[3], a[4]},
		"head twice":          {a[0], a[0], a[1], a[2], a[3], a[4]},
		"begins with a chunk": {a[1], a[2], a[3], a[4]},
		"foot at once":        {a[0], a[4]},
	} {
		if _, _, err := read(bytes.NewReader(bytes.Join(parts, nil))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLaterVersions reads what a later version may write: what it may add is passed over, what must be understood is
// refused, in the head and in a chunk.
func TestLaterVersions(t *testing.T) {
	change := func(at int, value byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = value; return b }
	}
	longer := func(b []byte) []byte {
		b = append(b, "something new"...)
		b[10] = 1
		binary.LittleEndian.PutUint32(b[12:], uint32(len(b)))
		return b
	}
	for name, c := range map[string]struct {
		record int
		change func([]byte) []byte
		want   error
	}{
		"format of the head":    {0, change(8, 2), ErrUnsupported},
		"incompatible head":     {0, change(11, 1), ErrUnsupported},
		"compatible head":       {0, change(10, 1), nil},
		"longer head":           {0, longer, nil},
		"format of a chunk":     {1, change(8, 2), ErrUnsupported},
		"incompatible chunk":    {1, change(11, 4), ErrUnsupported},
		"compatible chunk":      {1, change(10, 4), nil},
		"longer foot":           {2, longer, nil},
		"incompatible foot":     {2, change(11, 4), ErrUnsupported},
		"runtime beyond a head": {0, change(commonSize+24, 200), ErrDamaged},
	} {
		all := records(write(t, someMeta, []byte("the state")))
		all[c.record] = c.change(all[c.record])
		seal(all[0], 0)
		seed := binary.LittleEndian.Uint32(all[0][4:])
		seal(all[1], seed)
		seal(all[2], seed)
		_, state, err := read(bytes.NewReader(bytes.Join(all, nil)))
		if !errors.Is(err, c.want) || err == nil && string(state) != "the state" {
			t.Errorf("%s: %q, %v, want %v", name, state, err, c.want)
		}
	}
	if _, err := NewWriter(io.Discard, Meta{Runtime: make([]byte, MaxRuntime+1)}); err == nil {
		t.Error("a head that no reader accepts was written")
	}
}

// TestFormatStays compares with bytes that an earlier build wrote.
func TestFormatStays(t *testing.T) {
	const want = "" +
		"424c534e" + "540361a4" + "01000000" + "37000000" +
		"0100000000000000" + "2c01000000000000" + "0700000000000000" + "0700000000000000" + "6d656d62657273" +
		"424c5343" + "c7fccafd" + "01000000" + "21000000" + "0000000000000000" + "746865207374617465" +
		"424c5345" + "29feff63" + "01000000" + "20000000" + "0100000000000000" + "0900000000000000"
	if got := hex.EncodeToString(write(t, someMeta, []byte("the state"))); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// FuzzReader gives the reader anything: it does not panic, takes no memory that the bytes do not back, and what it
// accepts is what a writer writes, but for features to come.
func FuzzReader(f *testing.F) {
	text := write(f, someMeta, []byte("the state"))
	f.Add(text)
	f.Add(text[:40])
	f.Add(write(f, Meta{}))
	f.Fuzz(func(t *testing.T, text []byte) {
		meta, state, err := read(bytes.NewReader(text))
		if err != nil {
			return
		}
		again := write(t, meta, state)
		_, same, err := read(bytes.NewReader(again))
		if err != nil || !bytes.Equal(same, state) {
			t.Fatalf("%q, %v", same, err)
		}
	})
}
