package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads the state out of a snapshot. What it returns was verified, chunk by chunk. It does not read beyond the foot.
type Reader struct {
	from   io.Reader
	meta   Meta
	seed   uint32
	record []byte // the current one
	rest   []byte // of the current chunk's payload
	chunks uint64
	bytes  uint64
	read   int64
	err    error // why nothing more comes; io.EOF once the foot was read
}

// NewReader reads and verifies the head.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{from: from}
	if err := r.next(maxHead); err != nil {
		return nil, err
	}
	if err := r.takeHead(); err != nil {
		return nil, err
	}
	return r, nil
}

// takeHead takes the record for the head.
func (r *Reader) takeHead() error {
	var err error
	switch {
	case string(r.record[:4]) != headMagic:
		err = fmt.Errorf("%w: it begins with %x", ErrDamaged, r.record[:4])
	case !sealed(r.record, 0):
		err = fmt.Errorf("%w: the checksum of its head is wrong", ErrDamaged)
	default:
		err = checkFormat(r.record)
	}
	if err == nil && len(r.record) < headSize {
		err = fmt.Errorf("%w: its head has %d bytes", ErrDamaged, len(r.record))
	}
	if err == nil {
		r.meta, err = decodeMeta(r.record)
	}
	if err != nil {
		return err
	}
	r.seed = binary.LittleEndian.Uint32(r.record[4:])
	r.record = nil // the meta refers to it
	return nil
}

// Meta returns what the snapshot is of.
func (r *Reader) Meta() Meta { return r.meta }

// Read implements io.Reader. It returns io.EOF only after a good foot.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.advance()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

// WriteTo implements io.WriterTo: it writes chunks as they are.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(r.rest) > 0 {
			n, err := w.Write(r.rest)
			written += int64(n)
			r.rest = r.rest[n:]
			if err != nil {
				return written, err
			}
		}
		if r.err == nil {
			r.err = r.advance()
		}
		switch {
		case r.err == io.EOF:
			return written, nil
		case r.err != nil:
			return written, r.err
		}
	}
}

// advance reads the next record: a chunk, or the foot and then io.EOF.
func (r *Reader) advance() error {
	if err := r.next(maxChunk); err != nil {
		return err
	}
	return r.take()
}

// take takes the record for what may follow the head.
func (r *Reader) take() error {
	if !sealed(r.record, r.seed) {
		return fmt.Errorf("%w: the checksum of chunk %d is wrong", ErrDamaged, r.chunks)
	}
	if err := checkFormat(r.record); err != nil {
		return err
	}
	switch magic := string(r.record[:4]); {
	case magic == chunkMagic && len(r.record) > chunkSize:
		return r.takeChunk()
	case magic == footMagic && len(r.record) >= footSize:
		return r.takeFoot()
	}
	return fmt.Errorf("%w: a record %q of %d bytes after chunk %d", ErrDamaged, r.record[:4], len(r.record), r.chunks)
}

func (r *Reader) takeChunk() error {
	if number := binary.LittleEndian.Uint64(r.record[commonSize:]); number != r.chunks {
		return fmt.Errorf("%w: chunk %d comes where %d should", ErrDamaged, number, r.chunks)
	}
	r.rest = r.record[chunkSize:]
	r.chunks++
	r.bytes += uint64(len(r.rest))
	return nil
}

func (r *Reader) takeFoot() error {
	chunks, bytes := binary.LittleEndian.Uint64(r.record[commonSize:]), binary.LittleEndian.Uint64(r.record[commonSize+8:])
	if chunks != r.chunks || bytes != r.bytes {
		return fmt.Errorf("%w: it has %d chunks with %d bytes, its foot says %d with %d", ErrDamaged, r.chunks, r.bytes, chunks, bytes)
	}
	return io.EOF
}

// next reads one record of at most limit bytes. Memory beyond what chunks need is taken as the bytes arrive, since the
// size is not verified yet.
func (r *Reader) next(limit int) error {
	r.record = append(r.record[:0], make([]byte, commonSize)...)
	if err := r.full(r.record); err != nil {
		return err
	}
	size := int(binary.LittleEndian.Uint32(r.record[12:]))
	if size < commonSize || size > limit {
		return fmt.Errorf("%w: a record of %d bytes after chunk %d", ErrDamaged, size, r.chunks)
	}
	for len(r.record) < size {
		start := len(r.record)
		r.record = append(r.record, make([]byte, min(size-start, chunkPayload+chunkSize))...)
		if err := r.full(r.record[start:]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) full(p []byte) error {
	n, err := io.ReadFull(r.from, p)
	r.read += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %d bytes in, after chunk %d", ErrCutShort, r.read, r.chunks)
	}
	return err
}
