package wire

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// SnapshotChunk is a piece of a snapshot's file, sent on the bulk lane (paper figure 13, whose chunks these are).
type SnapshotChunk struct {
	Group  raft.GroupID
	To     raft.MemberID
	Offer  raft.SnapshotOffer // on whose behalf it is sent, and what; the same in all chunks
	Source SnapshotSource
	Size   uint64 // of the whole file, in bytes
	Offset uint64 // of Data in it
	// Data may become part of a frame, so nobody may write to it any more; a received one aliases its frame. The file has
	// checksums of its own.
	Data []byte
}

// SnapshotSource says whose file it is that is sent.
type SnapshotSource struct {
	Sender   raft.MemberID // the leader, or a follower that sends on its behalf
	Identity uint64        // of the file: all that have the same bytes have the same; 0 where it cannot be told from others
}

// plain reports whether it is what is sent to builds that know nothing of sources.
func (s SnapshotSource) plain(o *raft.SnapshotOffer) bool {
	return s.Sender == o.From && s.Identity == 0
}

// SnapshotReport answers chunks, on the ordinary lane.
type SnapshotReport struct {
	Group    raft.GroupID
	From     raft.MemberID      // the receiver
	Offer    raft.SnapshotOffer // as in the chunks
	Source   SnapshotSource     // as in the chunks
	Outcome  SnapshotOutcome
	Received uint64 // bytes from the start of the file that the receiver has
}

// SnapshotOutcome says what became of a snapshot at its receiver.
type SnapshotOutcome uint8

const (
	// SnapshotReceiving: go on at Received.
	SnapshotReceiving SnapshotOutcome = 1
	// SnapshotInstalled: the state is durable and current. The protocol hears of it by itself.
	SnapshotInstalled SnapshotOutcome = 2
	// SnapshotRefused: the receiver does not need it, or knows a later leader.
	SnapshotRefused SnapshotOutcome = 3
	// SnapshotFailed: what arrived is damaged, or the receiver's disk did not take it.
	SnapshotFailed SnapshotOutcome = 4

	lastSnapshotOutcome = SnapshotFailed
)

// SnapshotOrder is what a leader asks of a follower: to send a snapshot to another follower in its place, or to stop that.
type SnapshotOrder struct {
	Group raft.GroupID
	From  raft.MemberID     // the leader
	Need  raft.SnapshotNeed // as the leader's own protocol has said it
	// Prefer is what the receiver has a part of, if anything: the file of this position and identity.
	Prefer   raft.Position
	Identity uint64
	Stop     bool
}

// SnapshotNews tells a leader of a snapshot that is on its way: of one that it has ordered, or, where What is SnapshotHeld, what
// a follower that needs one has a part of.
type SnapshotNews struct {
	Group    raft.GroupID
	From     raft.MemberID // who tells it
	Term     raft.Term     // of the leader that it is for
	To       raft.MemberID // the receiver
	ToLife   raft.Incarnation
	What     SnapshotEvent
	At       raft.Position // zero while it is not known
	Source   SnapshotSource
	Size     uint64 // of the file, 0 while it is not known
	Received uint64 // bytes that the receiver has
}

// SnapshotEvent is what SnapshotNews tell.
type SnapshotEvent uint8

const (
	// SnapshotUnderWay: it is being made or sent.
	SnapshotUnderWay SnapshotEvent = 1
	// SnapshotTaken: the receiver has installed it.
	SnapshotTaken SnapshotEvent = 2
	// SnapshotNotTaken: the receiver refused it, or could not install it.
	SnapshotNotTaken SnapshotEvent = 3
	// SnapshotUnsent: whoever was to send it does not.
	SnapshotUnsent SnapshotEvent = 4
	// SnapshotHeld: this much of it is there.
	SnapshotHeld SnapshotEvent = 5

	lastSnapshotEvent = SnapshotHeld
)

const (
	snapshotAddress     = 64
	snapshotSource      = 16
	snapshotChunkHeader = snapshotAddress + 16 // in front of the data
	snapshotReportSize  = snapshotAddress + 9
	snapshotPieceHeader = snapshotChunkHeader + snapshotSource
	snapshotAnswerSize  = snapshotReportSize + snapshotSource
	snapshotOrderSize   = 16 + 40 + 24 + 1
	snapshotNewsSize    = 40 + 1 + 16 + snapshotSource + 16
)

// SnapshotChunk adds a piece of a snapshot. Its data becomes a part of the frame.
func (e *Encoder) SnapshotChunk(c SnapshotChunk) {
	k, head := kindSnapshotPiece, snapshotPieceHeader
	plain := c.Source.plain(&c.Offer)
	if plain {
		k, head = kindSnapshotChunk, snapshotChunkHeader
	}
	w := e.packet(k, head, head+len(c.Data))
	w.snapshot(c.Group, c.To, c.Offer)
	if !plain {
		w.source(c.Source)
	}
	w.u64(c.Size)
	w.u64(c.Offset)
	e.part(c.Data)
}

// SnapshotReport adds an answer to pieces of a snapshot.
func (e *Encoder) SnapshotReport(r SnapshotReport) {
	k, size := kindSnapshotAnswer, snapshotAnswerSize
	plain := r.Source.plain(&r.Offer)
	if plain {
		k, size = kindSnapshotReport, snapshotReportSize
	}
	w := e.packet(k, size, size)
	w.snapshot(r.Group, r.From, r.Offer)
	if !plain {
		w.source(r.Source)
	}
	w.u8(uint8(r.Outcome))
	w.u64(r.Received)
}

// SnapshotOrder adds what a leader asks of a follower.
func (e *Encoder) SnapshotOrder(o SnapshotOrder) {
	w := e.packet(kindSnapshotOrder, snapshotOrderSize, snapshotOrderSize)
	w.u64(uint64(o.Group))
	w.u64(uint64(o.From))
	w.u64(uint64(o.Need.To))
	w.u64(uint64(o.Need.FromLife))
	w.u64(uint64(o.Need.ToLife))
	w.u64(uint64(o.Need.Term))
	w.u64(uint64(o.Need.AtLeast))
	w.position(o.Prefer)
	w.u64(o.Identity)
	w.bool(o.Stop)
}

// SnapshotNews adds what a leader is told.
func (e *Encoder) SnapshotNews(n SnapshotNews) {
	w := e.packet(kindSnapshotNews, snapshotNewsSize, snapshotNewsSize)
	w.u64(uint64(n.Group))
	w.u64(uint64(n.From))
	w.u64(uint64(n.Term))
	w.u64(uint64(n.To))
	w.u64(uint64(n.ToLife))
	w.u8(uint8(n.What))
	w.position(n.At)
	w.source(n.Source)
	w.u64(n.Size)
	w.u64(n.Received)
}

func (w *writer) source(s SnapshotSource) {
	w.u64(uint64(s.Sender))
	w.u64(s.Identity)
}

func (r *reader) source() SnapshotSource {
	return SnapshotSource{raft.MemberID(r.u64()), r.u64()}
}

// snapshot writes which snapshot it is, and who receives it.
func (w *writer) snapshot(group raft.GroupID, receiver raft.MemberID, offer raft.SnapshotOffer) {
	w.u64(uint64(group))
	w.u64(uint64(receiver))
	w.u64(uint64(offer.From))
	w.u64(uint64(offer.FromLife))
	w.u64(uint64(offer.ToLife))
	w.u64(uint64(offer.Term))
	w.position(offer.At)
}

func (r *reader) offer() raft.SnapshotOffer {
	return raft.SnapshotOffer{
		From: raft.MemberID(r.u64()), FromLife: raft.Incarnation(r.u64()), ToLife: raft.Incarnation(r.u64()),
		Term: r.term(), At: r.position(),
	}
}

// decodeSnapshotChunk reads a piece: a plain one, or one that names its source.
func decodeSnapshotChunk(body []byte, plain bool) (*SnapshotChunk, error) {
	head := snapshotPieceHeader
	if plain {
		head = snapshotChunkHeader
	}
	if len(body) <= head {
		return nil, fmt.Errorf("%d bytes, a piece of a snapshot has more than %d", len(body), head)
	}
	r := &reader{b: body}
	c := &SnapshotChunk{Group: raft.GroupID(r.u64()), To: raft.MemberID(r.u64()), Offer: r.offer()}
	c.Source.Sender = c.Offer.From
	if !plain {
		c.Source = r.source()
	}
	c.Size, c.Offset, c.Data = r.u64(), r.u64(), r.b
	if !plain && c.Source.plain(&c.Offer) {
		return nil, errPlainSource
	}
	if c.Offset > c.Size || uint64(len(c.Data)) > c.Size-c.Offset {
		return nil, fmt.Errorf("%d bytes at %d of a snapshot of %d bytes", len(c.Data), c.Offset, c.Size)
	}
	return c, nil
}

// errPlainSource: there is one way to write a packet.
var errPlainSource = errors.New("its source is the offer's, and it has no identity: that is another kind")

func decodeSnapshotReport(body []byte, plain bool) (*SnapshotReport, error) {
	size := snapshotAnswerSize
	if plain {
		size = snapshotReportSize
	}
	if len(body) != size {
		return nil, fmt.Errorf("%d bytes, a report on a snapshot has %d", len(body), size)
	}
	r := &reader{b: body}
	report := &SnapshotReport{Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), Offer: r.offer()}
	report.Source.Sender = report.Offer.From
	if !plain {
		report.Source = r.source()
	}
	report.Outcome, report.Received = SnapshotOutcome(r.u8()), r.u64()
	if !plain && report.Source.plain(&report.Offer) {
		return nil, errPlainSource
	}
	if report.Outcome == 0 || report.Outcome > lastSnapshotOutcome {
		return nil, fmt.Errorf("outcome %d is not known to this build", report.Outcome)
	}
	return report, nil
}

func decodeSnapshotOrder(body []byte) (*SnapshotOrder, error) {
	if len(body) != snapshotOrderSize {
		return nil, fmt.Errorf("%d bytes, an order to send a snapshot has %d", len(body), snapshotOrderSize)
	}
	r := &reader{b: body}
	o := &SnapshotOrder{
		Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()),
		Need: raft.SnapshotNeed{
			To: raft.MemberID(r.u64()), FromLife: raft.Incarnation(r.u64()), ToLife: raft.Incarnation(r.u64()),
			Term: r.term(), AtLeast: raft.Index(r.u64()),
		},
		Prefer: r.position(), Identity: r.u64(), Stop: r.bool(),
	}
	if r.badFlag {
		return nil, errors.New("a flag is neither 0 nor 1")
	}
	return o, nil
}

func decodeSnapshotNews(body []byte) (*SnapshotNews, error) {
	if len(body) != snapshotNewsSize {
		return nil, fmt.Errorf("%d bytes, news of a snapshot have %d", len(body), snapshotNewsSize)
	}
	r := &reader{b: body}
	n := &SnapshotNews{
		Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), Term: r.term(), To: raft.MemberID(r.u64()),
		ToLife: raft.Incarnation(r.u64()), What: SnapshotEvent(r.u8()), At: r.position(), Source: r.source(),
		Size: r.u64(), Received: r.u64(),
	}
	if n.What == 0 || n.What > lastSnapshotEvent {
		return nil, fmt.Errorf("news %d are not known to this build", n.What)
	}
	return n, nil
}
