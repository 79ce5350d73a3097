package backup

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

var someInfo = Info{
	Version: "1", Made: time.Unix(1, 0).UTC(), Cluster: "1a", Member: "m1",
	Position: raft.Position{Index: 7, Term: 2}, Revision: 5, Compacted: -1,
}

func write(t *testing.T, state []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	err := Write(&file, someInfo, func(w io.Writer) (int64, error) {
		n, err := w.Write(state)
		return int64(n), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func read(file []byte) (Info, []byte, error) {
	r, err := Open(bytes.NewReader(file))
	if err != nil {
		return Info{}, nil, err
	}
	state, err := io.ReadAll(r)
	return r.Info(), state, err
}

func someState(size int) []byte {
	state := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(state)
	return state
}

// TestWhatIsWrittenIsRead writes states of several sizes; each file has the shape that etcd's clients look for.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 100, 200_000, 300_001} {
		state := someState(size)
		file := write(t, state)
		if len(file)%512 != 32 {
			t.Errorf("a file of %d bytes: etcd's clients take it for one without a checksum", len(file))
		}
		info, got, err := read(file)
		if err != nil || info != someInfo || !bytes.Equal(got, state) {
			t.Fatalf("%d bytes: %+v, %d bytes, %v", size, info, len(got), err)
		}
	}
}

// TestDamageIsNoticed flips every bit of a small backup, cuts it everywhere, and lengthens it.
func TestDamageIsNoticed(t *testing.T) {
	file := write(t, someState(300))
	for i := range len(file) * 8 {
		file[i/8] ^= 1 << (i % 8)
		if _, _, err := read(file); err == nil {
			t.Fatalf("bit %d of byte %d was flipped, and nobody noticed", i%8, i/8)
		}
		file[i/8] ^= 1 << (i % 8)
	}
	for n := range file {
		if _, _, err := read(file[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, _, err := read(append(bytes.Clone(file), 0)); !errors.Is(err, ErrDamaged) {
		t.Fatal("something follows, and nobody noticed:", err)
	}
}

// TestForeignFilesAreTold tells a file of etcd's, and one of a later version, by what they are.
func TestForeignFilesAreTold(t *testing.T) {
	bolt := make([]byte, 4096)
	copy(bolt[16:], []byte{0xed, 0xda, 0x0c, 0xed})
	if _, _, err := read(bolt); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}
