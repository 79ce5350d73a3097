package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/snapshot"
)

var (
	// ErrDamaged is wrapped where a backup is not as it was written, or not whole.
	ErrDamaged = errors.New("backup: damaged")
	// ErrForeign is wrapped where a file is no backup of Balsa's.
	ErrForeign = errors.New("backup: not a backup of Balsa")
	// ErrUnsupported is wrapped where a later version wrote it.
	ErrUnsupported = errors.New("backup: of a later version")
)

// Info says what a backup is of. It is for people, and for the one who restores it: fields may be added.
type Info struct {
	Version   string        `json:"balsa_version"`
	Made      time.Time     `json:"made"`
	Cluster   string        `json:"cluster_id"` // hexadecimal, as in logs
	Member    string        `json:"member"`     // the name of the one that it was taken from
	Position  raft.Position `json:"-"`          // of the snapshot's head
	Revision  int64         `json:"revision"`
	Compacted int64         `json:"compact_revision"`
}

const (
	magic      = "BLBK"
	format     = 1
	commonSize = 16
	maxInfo    = 1 << 20

	// sector is what the size of a backup without its checksum is a multiple of: etcd's clients find out by that whether
	// a file has one.
	sector = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (i *Info) encode() ([]byte, error) {
	text, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	b := append([]byte(magic), 0, 0, 0, 0, format, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(commonSize+len(text)))
	b = append(b, text...)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b, nil
}

// Write writes a backup whose state is what the given function writes.
func Write(w io.Writer, info Info, state func(io.Writer) (int64, error)) error {
	out := &hashed{to: w, hash: sha256.New()}
	head, err := info.encode()
	if err == nil {
		_, err = out.Write(head)
	}
	if err != nil {
		return err
	}
	inner, err := snapshot.NewWriter(out, snapshot.Meta{Position: info.Position})
	if err != nil {
		return err
	}
	if _, err := state(inner); err != nil {
		return err
	}
	if err := inner.Close(); err != nil {
		return err
	}
	if rest := out.size % sector; rest > 0 {
		if _, err := out.Write(make([]byte, sector-rest)); err != nil {
			return err
		}
	}
	_, err = w.Write(out.hash.Sum(nil))
	return err
}

// hashed is a writer that knows what went through it.
type hashed struct {
	to   io.Writer
	hash hash.Hash
	size int64
}

func (h *hashed) Write(p []byte) (int, error) {
	n, err := h.to.Write(p)
	_, _ = h.hash.Write(p[:n])
	h.size += int64(n)
	return n, err
}

// Reader reads the state out of a backup, chunk by chunk verified. The state ends with io.EOF only where all of it, and the
// checksum of the whole file behind it, was there and good.
type Reader struct {
	info   Info
	origin uint64
	from   *tee
	state  *snapshot.Reader
	ended  error // the outcome of the end, once it was read
}

// tee is a reader that knows what was read.
type tee struct {
	from io.Reader
	hash hash.Hash
	size int64
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	_, _ = t.hash.Write(p[:n])
	t.size += int64(n)
	return n, err
}

// Open reads the head of a backup.
func Open(from io.Reader) (*Reader, error) {
	r := &Reader{from: &tee{from: from, hash: sha256.New()}}
	if err := r.head(); err != nil {
		return nil, err
	}
	var err error
	if r.state, err = snapshot.NewReader(r.from); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r.info.Position = r.state.Meta().Position
	return r, nil
}

func (r *Reader) head() error {
	head := make([]byte, commonSize)
	if _, err := io.ReadFull(r.from, head); err != nil {
		return cutShort(err)
	}
	if string(head[:4]) != magic {
		return fmt.Errorf("%w: it begins with %x", ErrForeign, head[:4])
	}
	size := binary.LittleEndian.Uint32(head[12:])
	if size < commonSize || size > commonSize+maxInfo {
		return fmt.Errorf("%w: its head has %d bytes", ErrDamaged, size)
	}
	head = append(head, make([]byte, size-commonSize)...)
	if _, err := io.ReadFull(r.from, head[commonSize:]); err != nil {
		return cutShort(err)
	}
	if crc32.Checksum(head[8:], castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return fmt.Errorf("%w: the checksum of its head is wrong", ErrDamaged)
	}
	if head[8] != format || head[11] != 0 {
		return fmt.Errorf("%w: format %d with incompatible features %#02x, this build reads format %d without any: "+
			"use the version of balsa that wrote it", ErrUnsupported, head[8], head[11], format)
	}
	if err := json.Unmarshal(head[commonSize:], &r.info); err != nil {
		return fmt.Errorf("%w: its head: %w", ErrDamaged, err)
	}
	sum := sha256.Sum256(head) // it has the moment to the nanosecond, and who made it
	r.origin = max(1, binary.BigEndian.Uint64(sum[:]))
	return nil
}

// Info returns what the backup is of.
func (r *Reader) Info() Info { return r.info }

// Origin identifies the backup: it is the same for copies of one file, and for no two that were made.
func (r *Reader) Origin() uint64 { return r.origin }

// Size returns how many bytes of the file were read.
func (r *Reader) Size() int64 { return r.from.size }

// Read implements io.Reader. It returns the state.
func (r *Reader) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	n, err := r.state.Read(p)
	switch {
	case err == io.EOF:
		if r.ended = r.end(); r.ended == nil {
			r.ended = io.EOF
		}
		return n, r.ended
	case err != nil:
		r.ended = fmt.Errorf("%w: %w", ErrDamaged, err)
		return n, r.ended
	}
	return n, nil
}

// end reads what follows the state: zeros up to a whole sector, and the checksum.
func (r *Reader) end() error {
	if rest := r.from.size % sector; rest > 0 {
		padding := make([]byte, sector-rest)
		if _, err := io.ReadFull(r.from, padding); err != nil {
			return cutShort(err)
		}
	}
	sum := r.from.hash.Sum(nil)
	var read [sha256.Size]byte
	if _, err := io.ReadFull(r.from, read[:]); err != nil {
		return cutShort(err)
	}
	if string(sum) != string(read[:]) {
		return fmt.Errorf("%w: its SHA-256 is %x, its end says %x", ErrDamaged, sum, read)
	}
	if n, err := io.ReadFull(r.from, read[:1]); n > 0 {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// cutShort gives the end of a file that should go on its meaning.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrDamaged)
	}
	return err
}
