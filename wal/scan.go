package wal

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// unsound says why the bytes at a place are not the record that they should be. Other errors of reading are the
// disk's, or a version's, and say nothing about what the bytes are.
type unsound struct{ err error }

func (e *unsound) Error() string { return e.err.Error() }
func (e *unsound) Unwrap() error { return e.err }

// errNothing is the reason where there are only zeros.
var errNothing = errors.New("there are zeros where a record should be")

// readHead reads a segment's head. It returns an *unsound where there is none.
func (w *window) readHead(number uint64) (*head, error) {
	h, err := w.header(0, magicSegment, headFixed, 0)
	if err != nil {
		return nil, err
	}
	decoded, err := decodeHead(h)
	if err != nil {
		return nil, &unsound{err}
	}
	if decoded.segment != number {
		return nil, &unsound{fmt.Errorf("the head says that this is segment %d", decoded.segment)}
	}
	decoded.size = align(decoded.size)
	return decoded, nil
}

// header reads a record's whole header and checks magic, size, checksum and version.
func (w *window) header(off int64, magic uint32, smallest int, salt uint32) ([]byte, error) {
	prefix, err := w.bytes(off, min(prefixSize, w.size-off))
	if err != nil {
		return nil, err
	}
	if allZero(prefix) {
		return nil, &unsound{errNothing}
	}
	if w.size-off < int64(smallest) {
		return nil, &unsound{fmt.Errorf("the file ends after %d more bytes", w.size-off)}
	}
	size, err := headerSize(prefix, magic, smallest)
	if err == nil && size > w.size-off {
		err = fmt.Errorf("the header says that it has %d bytes, where %d are left", size, w.size-off)
	}
	if err != nil {
		return nil, &unsound{err}
	}
	h, err := w.bytes(off, size)
	if err != nil {
		return nil, err
	}
	if err := open(w.name, h, salt); err != nil {
		var version *VersionError
		if errors.As(err, &version) {
			return nil, err
		}
		return nil, &unsound{err}
	}
	return h, nil
}

// readBatch reads the header of a batch into b. It returns an *unsound where there is none.
func (w *window) readBatch(b *batch, at Position, salt uint32) error {
	h, err := w.header(at.Offset, magicBatch, batchFixed, salt)
	if err != nil {
		return err
	}
	if err := b.decodeHeader(h, w.size-at.Offset); err != nil {
		return &unsound{err}
	}
	if b.at != at {
		return &unsound{fmt.Errorf("the batch says that it is at %v", b.at)}
	}
	if at.Less(b.mark) {
		return &unsound{fmt.Errorf("the batch says that %v was durable before it", b.mark)}
	}
	return nil
}

// body returns the frames of a batch.
func (w *window) body(b *batch) ([]byte, error) {
	return w.bytes(b.at.Offset+b.header, b.size-b.header)
}

// verify checks the frames of a batch; the first bad one is the error, an *unsound. It keeps those that hold configurations.
func (w *window) verify(b *batch) error {
	body, err := w.body(b)
	if err != nil {
		return err
	}
	err = b.eachFrame(body, func(_ run, _ int, _ int64, e raft.Entry, bad error) error {
		if bad == nil && e.Kind() == raft.EntryConfiguration {
			b.configurations = append(b.configurations, bytes.Clone(e))
		}
		return bad
	})
	if err != nil {
		return &unsound{err}
	}
	return nil
}

var zeros [64 << 10]byte

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// searchBatches looks for sound headers from off on, where nothing says where one begins, and visits each until visit
// returns false. It returns the end of the bytes that are not zero, as far as it came.
func (w *window) searchBatches(number uint64, off int64, salt uint32, visit func(*batch) (more bool)) (end int64, err error) {
	magic := order.AppendUint32(nil, magicBatch)
	end, off = off, align(off)
	var b batch
	for off < w.size {
		n := min(windowSize, w.size-off)
		chunk, err := w.bytes(off, n)
		if err != nil {
			return 0, err
		}
		if allZero(chunk) {
			off += n
			continue
		}
		end = off + int64(len(bytes.TrimRight(chunk, "\x00")))
		found := bytes.Index(chunk, magic)
		if found < 0 {
			off = align(off + max(n-int64(len(magic))+1, 1))
			continue
		}
		off += int64(found)
		if off%alignment != 0 {
			off = align(off)
			continue
		}
		switch err := w.readBatch(&b, Position{number, off}, salt); {
		case err == nil:
			if !visit(&b) {
				return end, nil
			}
			end = max(end, b.end())
			off = b.end()
		case errors.As(err, new(*unsound)):
			off += alignment
		default:
			return 0, err
		}
	}
	return end, nil
}
