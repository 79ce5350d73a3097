package transport

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/balsadb/balsa/raft"
)

// Each connection begins with a hello of the one who dialled and an answer of the one who was dialled. Both begin alike,
// little endian:
//
//	 0  8    magic
//	 8  u32  length of what follows, the checksum included
//	12  u16  lowest protocol version that the sender speaks, u16 highest: the levels of clusters that it can be in (raft.Level)
//	16  u64  features that the sender has, u64 those that it requires
//	32  u64  cluster, u64 member, u64 life, 16 bytes data directory
//
// A hello goes on, and an answer:
//
//	72  u64  member that is meant         72  u16  reason of the refusal, 0 if there is none
//	80  u8   kind of stream, 3 zeros      74  u16  protocol version that is to be spoken
//	84  u32  ping interval in ms          76  u16  length of the text, which follows
//	88       a question, see inquiry.go    behind it, as at 88 of a hello: boot and progress
//	   or, of who has FeatureProgress:
//	88  u64  boot, u64 progress
//	104      with messages: the sender's URLs, with commas between
//
// A boot is drawn anew by each process, progress is how far its log is known to be durable. Earlier builds say neither: 0.
// Both end with a CRC-32C over all that is before it. Bytes between what this build knows and the checksum are ignored,
// so that later builds can say more.
const (
	cardSize     = 72
	helloSize    = 88
	answerSize   = 78 // without its text
	presenceSize = 16
	maxHandshake = 4096
	maxReason    = 1024
	checksumSize = 4
	prefixSize   = 12
)

// magic has a byte that is no ASCII and a line end, so that other protocols are told at once and a text-mode transfer is noticed.
var magic = [8]byte{0x89, 'B', 'A', 'L', 'S', 'A', '\r', '\n'}

// streamKind says what a connection is for.
type streamKind uint8

const (
	streamMessages streamKind = 1 // what Send takes
	streamBulk     streamKind = 2 // what SendBulk takes
	streamInquiry  streamKind = 3 // a question of somebody who is no member yet
)

var streams = [...]streamKind{streamMessages, streamBulk}

// dialect is what a build speaks.
type dialect struct {
	lowest, highest     uint16
	supported, required uint64 // feature bits
}

// ours is what this build speaks. A member of a cluster of a higher level speaks nothing lower than that, see TCP.SetLevel.
var ours = dialect{
	lowest: uint16(raft.FirstLevel), highest: uint16(raft.BuildLevel),
	supported: uint64(FeatureSnapshotSources | FeatureStateRepair | FeatureProgress | FeatureLogRepair),
}

// Features are what a build can do that another of the same protocol version may not. Both ends tell theirs.
type Features uint64

const (
	// FeatureSnapshotSources is to understand pieces of snapshots, and answers to them, that name their source, and what is said
	// between a leader and those who send in its place (packets 36 to 39).
	FeatureSnapshotSources Features = 1 << 0
	// FeatureStateRepair is to understand digests of states, and requests for one (packets 34 and 35).
	FeatureStateRepair Features = 1 << 1
	// FeatureProgress is to say boot and progress in the handshake, and to understand frames of type frameProgress.
	FeatureProgress Features = 1 << 2
	// FeatureLogRepair is to understand questions for lost entries of the log, and answers (packets 32 and 33).
	FeatureLogRepair Features = 1 << 3
)

// card is what both ends say about themselves.
type card struct {
	dialect
	Identity
	boot     uint64
	progress Progress
}

type hello struct {
	card
	to     raft.MemberID
	stream streamKind
	ping   time.Duration
	// rest is what an inquiry asks, or where the sender is reached.
	rest []byte
}

type answer struct {
	card
	reason  Reason
	version uint16
	text    string
}

func (c *card) put(b []byte) []byte {
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint32(b, 0) // length, set by finish
	b = binary.LittleEndian.AppendUint16(b, c.lowest)
	b = binary.LittleEndian.AppendUint16(b, c.highest)
	b = binary.LittleEndian.AppendUint64(b, c.supported)
	b = binary.LittleEndian.AppendUint64(b, c.required)
	b = binary.LittleEndian.AppendUint64(b, c.Cluster)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Member))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Life))
	return append(b, c.DataDir[:]...)
}

func (c *card) take(b []byte) {
	c.lowest, c.highest = binary.LittleEndian.Uint16(b[12:]), binary.LittleEndian.Uint16(b[14:])
	c.supported, c.required = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	c.Cluster, c.Member = binary.LittleEndian.Uint64(b[32:]), raft.MemberID(binary.LittleEndian.Uint64(b[40:]))
	c.Life = raft.Incarnation(binary.LittleEndian.Uint64(b[48:]))
	copy(c.DataDir[:], b[56:])
}

func finish(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-prefixSize+checksumSize))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (h *hello) encode() []byte {
	b := h.card.put(make([]byte, 0, helloSize+presenceSize+checksumSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.to))
	b = append(b, byte(h.stream), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(min(h.ping.Milliseconds(), 1<<32-1)))
	if h.stream != streamInquiry {
		b = h.card.putPresence(b)
	}
	return finish(append(b, h.rest...))
}

func (c *card) putPresence(b []byte) []byte {
	if Features(c.supported)&FeatureProgress == 0 {
		return b
	}
	b = binary.LittleEndian.AppendUint64(b, c.boot)
	return binary.LittleEndian.AppendUint64(b, uint64(c.progress))
}

// takePresence returns what follows.
func (c *card) takePresence(b []byte) []byte {
	if Features(c.supported)&FeatureProgress == 0 || len(b) < presenceSize {
		return b
	}
	c.boot, c.progress = binary.LittleEndian.Uint64(b), Progress(binary.LittleEndian.Uint64(b[8:]))
	return b[presenceSize:]
}

func (a *answer) encode() []byte {
	text := a.text[:min(len(a.text), maxReason)]
	b := a.card.put(make([]byte, 0, answerSize+len(text)+presenceSize+checksumSize))
	b = binary.LittleEndian.AppendUint16(b, uint16(a.reason))
	b = binary.LittleEndian.AppendUint16(b, a.version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return finish(a.card.putPresence(append(b, text...)))
}

func readHello(r io.Reader) (hello, error) {
	b, err := readHandshake(r, helloSize)
	if err != nil {
		return hello{}, err
	}
	var h hello
	h.card.take(b)
	h.to = raft.MemberID(binary.LittleEndian.Uint64(b[72:]))
	h.stream = streamKind(b[80])
	h.ping = time.Duration(binary.LittleEndian.Uint32(b[84:])) * time.Millisecond
	h.rest = b[helloSize:]
	if h.stream != streamInquiry {
		h.rest = h.card.takePresence(h.rest)
	}
	if len(h.rest) == 0 {
		h.rest = nil
	}
	return h, nil
}

func readAnswer(r io.Reader) (answer, error) {
	b, err := readHandshake(r, answerSize)
	if err != nil {
		return answer{}, err
	}
	var a answer
	a.card.take(b)
	a.reason = Reason(binary.LittleEndian.Uint16(b[72:]))
	a.version = binary.LittleEndian.Uint16(b[74:])
	n := int(binary.LittleEndian.Uint16(b[76:]))
	if n > len(b)-answerSize {
		return answer{}, fmt.Errorf("%w: a reason of %d bytes, %d are left", errMalformed, n, len(b)-answerSize)
	}
	a.text = string(b[answerSize : answerSize+n])
	a.card.takePresence(b[answerSize+n:])
	return a, nil
}

// readHandshake reads a hello or an answer and returns it without its checksum; it has at least size bytes.
func readHandshake(r io.Reader, size int) ([]byte, error) {
	var prefix [prefixSize]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	if [8]byte(prefix[:]) != magic {
		return nil, fmt.Errorf("%w: %s", errMalformed, foreign(prefix[:]))
	}
	left := binary.LittleEndian.Uint32(prefix[8:])
	if left > maxHandshake || int(left) < size-prefixSize+checksumSize {
		return nil, fmt.Errorf("%w: a handshake of %d bytes, it has %d to %d", errMalformed, left, size-prefixSize+checksumSize, maxHandshake)
	}
	b := make([]byte, prefixSize+int(left))
	copy(b, prefix[:])
	if _, err := io.ReadFull(r, b[prefixSize:]); err != nil {
		return nil, err
	}
	body, sum := b[:len(b)-checksumSize], binary.LittleEndian.Uint32(b[len(b)-checksumSize:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("%w: handshake checksum %08x, computed %08x", errMalformed, sum, got)
	}
	return body, nil
}

// foreign says what kind of stranger begins with these bytes.
func foreign(prefix []byte) string {
	switch {
	case prefix[0] == 0x16 && prefix[1] == 0x03:
		return "a TLS handshake where plain TCP was expected: is the peer URL https on one side and http on the other?"
	case prefix[0] == 0x15 && prefix[1] == 0x03:
		return "a TLS alert where plain TCP was expected: is the peer URL https on one side and http on the other?"
	}
	for _, method := range []string{"GET ", "PUT ", "POST ", "HEAD ", "PRI ", "HTTP", "OPTIONS "} {
		if string(prefix[:len(method)]) == method {
			return "HTTP on the peer port: an etcd member, or a client that was given a peer's URL"
		}
	}
	return fmt.Sprintf("the stream begins with %x, not as a Balsa peer's does", prefix[:8])
}

// agree returns the protocol version that two dialects share, or why they do not go together. The refusal is worded for
// the one who is refused: "you".
func (d dialect) agree(you dialect) (uint16, *RefusedError) {
	version := min(d.highest, you.highest)
	if version < max(d.lowest, you.lowest) {
		return 0, refuse(ReasonVersion, "you speak the peer protocol's versions %d to %d, this member %d to %d: upgrade the older one by one release at a time",
			you.lowest, you.highest, d.lowest, d.highest)
	}
	if missing := d.required &^ you.supported; missing != 0 {
		return 0, refuse(ReasonFeatures, "this member requires features %#x, which you do not have: upgrade your build", missing)
	}
	if missing := you.required &^ d.supported; missing != 0 {
		return 0, refuse(ReasonFeatures, "you require features %#x, which this member does not have: upgrade its build", missing)
	}
	return version, nil
}
