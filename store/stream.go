package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/balsadb/balsa"
	"github.com/cespare/xxhash/v2"
)

// A snapshot of the store is a stream of records: a head, every record of the group in the order of its keys, and an end
// with what they must add up to. docs/formats-snapshot.md has the layout. The stream is logical: it holds no file of an
// engine, so that replicas with different engines, or different versions of one, can exchange it.

const (
	streamMagic    = "BLST"
	streamFormat   = 1
	streamHeadSize = 32
	streamEndSize  = 8 + 8 + 16 + 8
	streamBuffer   = 64 << 10
)

// maxStreamPiece bounds a key or a value. It is far above what a command may hold, and there to refuse nonsense.
const maxStreamPiece = 1 << 30

// errStream is wrapped where a stream is not a snapshot of the store, or not a whole one.
var errStream = errors.New("the snapshot is damaged")

// streamWriter writes a snapshot. The hash at the end is of everything before it.
type streamWriter struct {
	to      io.Writer
	written int64
	buffer  []byte
	hash    xxhash.Digest
	records uint64
	bytes   uint64 // of keys and values
}

func newStreamWriter(to io.Writer) *streamWriter {
	w := &streamWriter{to: to, buffer: make([]byte, 0, streamBuffer)}
	w.hash.Reset()
	return w
}

func (w *streamWriter) begin(at balsa.Position) error {
	b := append(w.buffer, streamMagic...)
	b = append(b, streamFormat, 0, 0, 0) // format, reserved, compatible and incompatible features
	b = binary.LittleEndian.AppendUint32(b, streamHeadSize)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Index))
	w.buffer = binary.LittleEndian.AppendUint64(b, uint64(at.Term))
	return w.spill()
}

func (w *streamWriter) record(key, value []byte) error {
	w.records++
	w.bytes += uint64(len(key) + len(value))
	if err := w.piece(key); err != nil {
		return err
	}
	return w.piece(value)
}

func (w *streamWriter) piece(p []byte) error {
	w.buffer = binary.AppendUvarint(w.buffer, uint64(len(p)))
	w.buffer = append(w.buffer, p...)
	return w.spill()
}

// spill writes the buffer once it is full.
func (w *streamWriter) spill() error {
	if len(w.buffer) < streamBuffer {
		return nil
	}
	return w.flush()
}

func (w *streamWriter) flush() error {
	_, _ = w.hash.Write(w.buffer)
	n, err := w.to.Write(w.buffer)
	w.written += int64(n)
	w.buffer = w.buffer[:0]
	return err
}

// end writes the end: the empty key that no record has, and the sums.
func (w *streamWriter) end(digest Digest) error {
	b := append(w.buffer, 0)
	for _, n := range [...]uint64{w.records, w.bytes, digest.A, digest.B} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	_, _ = w.hash.Write(b)
	w.buffer = binary.LittleEndian.AppendUint64(b, w.hash.Sum64())
	n, err := w.to.Write(w.buffer)
	w.written += int64(n)
	return err
}

// streamReader reads a snapshot. Nothing that it returned counts before the end was read and is good.
type streamReader struct {
	from    *bufio.Reader
	hash    xxhash.Digest
	records uint64
	bytes   uint64
	key     bytes.Buffer
	value   bytes.Buffer
	scratch [streamEndSize]byte
}

func newStreamReader(from io.Reader) *streamReader {
	r := &streamReader{from: bufio.NewReaderSize(from, streamBuffer)}
	r.hash.Reset()
	return r
}

// begin reads the head and returns the position.
func (r *streamReader) begin() (balsa.Position, error) {
	head := r.scratch[:streamHeadSize]
	if err := r.full(head); err != nil {
		return balsa.Position{}, err
	}
	_, _ = r.hash.Write(head)
	if string(head[:4]) != streamMagic {
		return balsa.Position{}, fmt.Errorf("%w: it begins with %x", errStream, head[:4])
	}
	if format, incompatible := head[4], head[7]; format != streamFormat || incompatible != 0 {
		return balsa.Position{}, fmt.Errorf("the snapshot has format %d with incompatible features %#02x, "+
			"this build reads format %d without any: use the version of balsa that wrote it", format, incompatible, streamFormat)
	}
	size := binary.LittleEndian.Uint32(head[8:])
	if size < streamHeadSize || size > streamBuffer {
		return balsa.Position{}, fmt.Errorf("%w: its head has %d bytes", errStream, size)
	}
	// What a compatible feature has added to the head is passed over.
	if err := r.piece(&r.value, uint64(size-streamHeadSize)); err != nil {
		return balsa.Position{}, err
	}
	return balsa.Position{
		Index: balsa.Index(binary.LittleEndian.Uint64(head[16:])),
		Term:  balsa.Term(binary.LittleEndian.Uint64(head[24:])),
	}, nil
}

// record returns the next record, or ok = false at the end. Key and value are valid until the next call.
func (r *streamReader) record() (key, value []byte, ok bool, err error) {
	size, err := r.length()
	if err != nil || size == 0 {
		return nil, nil, false, err
	}
	if err := r.piece(&r.key, size); err != nil {
		return nil, nil, false, err
	}
	if size, err = r.length(); err != nil {
		return nil, nil, false, err
	}
	if err := r.piece(&r.value, size); err != nil {
		return nil, nil, false, err
	}
	r.records++
	r.bytes += uint64(r.key.Len() + r.value.Len())
	return r.key.Bytes(), r.value.Bytes(), true, nil
}

func (r *streamReader) length() (uint64, error) {
	n, err := binary.ReadUvarint(r.from)
	if err != nil {
		return 0, cutShort(err)
	}
	if n > maxStreamPiece {
		return 0, fmt.Errorf("%w: a record of %d bytes", errStream, n)
	}
	_, _ = r.hash.Write(binary.AppendUvarint(r.scratch[:0], n))
	return n, nil
}

// piece reads size bytes. Memory is taken as they arrive: the size itself is not to be trusted yet.
func (r *streamReader) piece(into *bytes.Buffer, size uint64) error {
	into.Reset()
	if _, err := io.CopyN(into, r.from, int64(size)); err != nil {
		return cutShort(err)
	}
	_, _ = r.hash.Write(into.Bytes())
	return nil
}

// end reads the sums, compares them with what was read, and makes sure that nothing follows.
func (r *streamReader) end() (Digest, error) {
	end := r.scratch[:streamEndSize]
	if err := r.full(end); err != nil {
		return Digest{}, err
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(end[8*i:]) }
	_, _ = r.hash.Write(end[:streamEndSize-8])
	switch {
	case r.hash.Sum64() != word(4):
		return Digest{}, fmt.Errorf("%w: its hash is %016x, not %016x", errStream, r.hash.Sum64(), word(4))
	case r.records != word(0) || r.bytes != word(1):
		return Digest{}, fmt.Errorf("%w: it has %d records of %d bytes, not %d of %d", errStream, r.records, r.bytes, word(0), word(1))
	}
	// Whoever checks the stream below us may do so at its end: this is where he is heard.
	if _, err := r.from.ReadByte(); err == nil {
		return Digest{}, fmt.Errorf("%w: something follows its end", errStream)
	} else if err != io.EOF {
		return Digest{}, err
	}
	return Digest{word(2), word(3)}, nil
}

func (r *streamReader) full(p []byte) error {
	_, err := io.ReadFull(r.from, p)
	return cutShort(err)
}

// cutShort gives the end of a stream that should go on its meaning.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", errStream)
	}
	return err
}
