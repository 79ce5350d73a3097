package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame on a connection, little endian:
//
//	 0  u32  length of the body
//	 4  u8   version
//	 5  u8   type
//	 6  u8   compatible flags: a reader ignores those that it does not know
//	 7  u8   incompatible flags: a reader refuses those that it does not know
//	 8  u32  CRC-32C over [0,8) and the body
//	12       body
const (
	frameHeader  = 12
	frameVersion = 1
)

type frameType uint8

const (
	frameData frameType = 1
	// framePing and framePong carry eight bytes, which the pong repeats.
	framePing frameType = 2
	framePong frameType = 3
	// frameProgress carries eight bytes: how far the sender's log is known to be durable. Only who has FeatureProgress is sent it.
	frameProgress frameType = 4
)

const pingBytes = 8

// errMalformed is wrapped by every error that says why bytes that arrived are not what a peer would send.
var errMalformed = errors.New("malformed bytes")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// putHeader writes the header of a frame whose body is parts.
func putHeader(b []byte, t frameType, size int, parts ...[]byte) {
	binary.LittleEndian.PutUint32(b, uint32(size))
	b[4], b[5], b[6], b[7] = frameVersion, byte(t), 0, 0
	sum := crc32.Checksum(b[:8], castagnoli)
	for _, part := range parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	binary.LittleEndian.PutUint32(b[8:], sum)
}

// frameReader takes frames off a stream. Headers and small bodies come through its buffer, and so several with
// one system call; what a large body has beyond the buffer is read into its place.
type frameReader struct {
	stream *bufio.Reader
	limit  int // largest body
	header [frameHeader]byte
}

const readBuffer = 32 << 10

func newFrameReader(r io.Reader, buffer, limit int) *frameReader {
	return &frameReader{stream: bufio.NewReaderSize(r, buffer), limit: limit}
}

// next returns the next frame, in a buffer of its exact size which nothing else refers to. At the end of the stream
// between two frames the error is io.EOF, within one it is io.ErrUnexpectedEOF.
func (r *frameReader) next() (frameType, []byte, error) {
	if _, err := io.ReadFull(r.stream, r.header[:]); err != nil {
		return 0, nil, err
	}
	size, t := binary.LittleEndian.Uint32(r.header[:]), frameType(r.header[5])
	if err := r.checkHeader(size, t); err != nil {
		return 0, nil, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r.stream, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	got := crc32.Update(crc32.Checksum(r.header[:8], castagnoli), castagnoli, body)
	if want := binary.LittleEndian.Uint32(r.header[8:]); got != want {
		return 0, nil, fmt.Errorf("%w: frame checksum %08x, computed %08x", errMalformed, want, got)
	}
	return t, body, nil
}

// checkHeader refuses a header before anything is allocated or awaited for its body.
func (r *frameReader) checkHeader(size uint32, t frameType) error {
	if v := r.header[4]; v != frameVersion {
		return fmt.Errorf("%w: frame version %d, this build reads %d", errMalformed, v, frameVersion)
	}
	if flags := r.header[7]; flags != 0 {
		return fmt.Errorf("%w: incompatible frame flags %#02x are not known to this build", errMalformed, flags)
	}
	switch t {
	case frameData:
		if uint64(size) > uint64(r.limit) {
			return fmt.Errorf("%w: a frame of %d bytes, the limit is %d", errMalformed, size, r.limit)
		}
	case framePing, framePong, frameProgress:
		if size != pingBytes {
			return fmt.Errorf("%w: a ping of %d bytes, it has %d", errMalformed, size, pingBytes)
		}
	default:
		return fmt.Errorf("%w: frame type %d is not known to this build", errMalformed, t)
	}
	return nil
}
