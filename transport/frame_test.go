package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// frameOf returns one frame as it is on a connection.
func frameOf(t frameType, body []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(body))
	putHeader(b, t, len(body), body)
	return append(b, body...)
}

func readFrames(r io.Reader, limit int) *frameReader { return newFrameReader(r, 64, limit) }

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	bodies := [][]byte{{}, []byte("short"), bytes.Repeat([]byte("longer than the reader's buffer "), 10)}
	var stream []byte
	for _, body := range bodies {
		stream = append(stream, frameOf(frameData, body)...)
	}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		frames := readFrames(r, 1000)
		for i, want := range bodies {
			kind, got, err := frames.next()
			if err != nil || kind != frameData || !bytes.Equal(got, want) {
				t.Errorf("%s: frame %d: type %d, %q, %v", name, i, kind, got, err)
			}
		}
		if _, _, err := frames.next(); err != io.EOF {
			t.Errorf("%s: at the end %v, want io.EOF", name, err)
		}
	}
}

// TestBadFramesAreMalformed has one row for each way in which bytes on a connection can fail to be a frame.
func TestBadFramesAreMalformed(t *testing.T) {
	good := func() []byte { return frameOf(frameData, []byte("body")) }
	set := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, row := range []struct {
		name, reason string
		bytes        []byte
	}{
		{"version of the future", "frame version 2", set(good(), 4, 2)},
		{"unknown type", "frame type 9", set(good(), 5, 9)},
		{"unknown incompatible flag", "incompatible frame flags 0x80", set(good(), 7, 0x80)},
		{"larger than the limit", "a frame of 1001 bytes, the limit is 1000", frameOf(frameData, make([]byte, 1001))},
		{"four gigabytes", "4294967295 bytes", []byte{255, 255, 255, 255, 1, 1, 0, 0, 0, 0, 0, 0}},
		{"ping of another size", "a ping of 4 bytes", set(good(), 5, byte(framePing))},
		{"pong of another size", "a ping of 4 bytes", set(good(), 5, byte(framePong))},
		{"flipped bit in the body", "checksum", set(good(), frameHeader, 'B')},
		{"flipped bit in the length", "checksum", set(good(), 0, 3)},
		{"flipped bit in the compatible flags", "checksum", set(good(), 6, 1)},
		{"flipped bit in the checksum", "checksum", set(good(), 8, good()[8]^1)},
	} {
		_, _, err := readFrames(bytes.NewReader(row.bytes), 1000).next()
		if !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), row.reason) {
			t.Errorf("%s: error %v, want one that says %q", row.name, err, row.reason)
		}
	}
}

func TestACutFrameIsNoEndOfStream(t *testing.T) {
	whole := frameOf(frameData, []byte("body"))
	for n := 1; n < len(whole); n++ {
		if _, _, err := readFrames(bytes.NewReader(whole[:n]), 1000).next(); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

// FuzzFrameReader: no stream panics or makes the reader allocate beyond its limit, and what is read was written so.
func FuzzFrameReader(f *testing.F) {
	f.Add(append(frameOf(frameData, []byte("body")), frameOf(framePing, make([]byte, 8))...))
	f.Add(frameOf(framePong, []byte("12345678")))
	f.Add([]byte{255, 255, 255, 255, 1, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames, at := readFrames(bytes.NewReader(stream), 1000), 0
		for {
			kind, body, err := frames.next()
			if err != nil {
				return
			}
			if len(body) > 1000 {
				t.Fatalf("a frame of %d bytes, the limit is 1000", len(body))
			}
			end := at + frameHeader + len(body)
			if frameType(stream[at+5]) != kind || !bytes.Equal(stream[at+frameHeader:end], body) {
				t.Fatalf("read type %d, %x from %x", kind, body, stream[at:end])
			}
			at = end
		}
	})
}

// pieces is a connection that keeps what it is given, call by call.
type pieces struct {
	net.Conn
	written [][]byte
}

func (p *pieces) Write(b []byte) (int, error) {
	p.written = append(p.written, bytes.Clone(b))
	return len(b), nil
}

// TestBatchWritesWhatPlainWritingWould compares the batch with its naive twin.
func TestBatchWritesWhatPlainWritingWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBatch(rapid.SampledFrom([]int{0, 5, 100, 1 << 20}).Draw(t, "inline"))
		for range 2 { // the second batch is made in the first one's memory
			var want []byte
			for range rapid.IntRange(0, 20).Draw(t, "frames") {
				parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 200), 0, 5).Draw(t, "parts")
				body := bytes.Join(parts, nil)
				b.add(frameData, len(body), parts)
				want = append(want, frameOf(frameData, body)...)
			}
			conn := &pieces{}
			if err := b.write(conn, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			if got := bytes.Join(conn.written, nil); !bytes.Equal(got, want) {
				t.Fatalf("wrote %x, want %x", got, want)
			}
			b.reset()
		}
	})
}

func TestALargeFrameIsWrittenInPiecesWithADeadlineEach(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 3*writeBytes/16+1)
	b := newBatch(inlineTCP)
	b.add(frameData, len(body), [][]byte{body})
	b.addPing(time.Second)
	conn, deadlines := &pieces{}, 0
	if err := b.write(conn, func() error { deadlines++; return nil }); err != nil {
		t.Fatal(err)
	}
	if deadlines != 4 {
		t.Errorf("%d deadlines for a little over 3 times writeBytes, want 4", deadlines)
	}
	frames := readFrames(bytes.NewReader(bytes.Join(conn.written, nil)), len(body))
	if _, got, err := frames.next(); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the frame came as %d bytes, %v", len(got), err)
	}
	if kind, got, err := frames.next(); err != nil || kind != framePing || binary.LittleEndian.Uint64(got) != uint64(time.Second) {
		t.Errorf("the ping came as type %d, %x, %v", kind, got, err)
	}
}

func TestLargePartsAreNotCopied(t *testing.T) {
	large := make([]byte, inlineTCP+1)
	b := newBatch(inlineTCP)
	b.add(frameData, 4+len(large), [][]byte{[]byte("head"), large})
	b.endRun()
	if len(b.buffers) != 2 || &b.buffers[1][0] != &large[0] {
		t.Errorf("%d buffers, and the large part is not one of them", len(b.buffers))
	}
}
