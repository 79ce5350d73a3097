package wire

import (
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// SnapshotChunk is a piece of a snapshot's file, sent on the bulk lane (paper figure 13, whose chunks these are).
type SnapshotChunk struct {
	Group  raft.GroupID
	To     raft.MemberID
	Offer  raft.SnapshotOffer // what is sent, and by whom; the same in all chunks
	Size   uint64             // of the whole file, in bytes
	Offset uint64             // of Data in it
	// Data may become part of a frame, so nobody may write to it any more; a received one aliases its frame. The file has
	// checksums of its own.
	Data []byte
}

// SnapshotReport answers chunks, on the ordinary lane.
type SnapshotReport struct {
	Group    raft.GroupID
	From     raft.MemberID      // the receiver
	Offer    raft.SnapshotOffer // as in the chunks
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

const (
	snapshotAddress     = 64
	snapshotChunkHeader = snapshotAddress + 16 // in front of the data
	snapshotReportSize  = snapshotAddress + 9
)

// SnapshotChunk adds a piece of a snapshot. Its data becomes a part of the frame.
func (e *Encoder) SnapshotChunk(c SnapshotChunk) {
	w := e.packet(kindSnapshotChunk, snapshotChunkHeader, snapshotChunkHeader+len(c.Data))
	w.snapshot(c.Group, c.To, c.Offer)
	w.u64(c.Size)
	w.u64(c.Offset)
	e.part(c.Data)
}

// SnapshotReport adds an answer to pieces of a snapshot.
func (e *Encoder) SnapshotReport(r SnapshotReport) {
	w := e.packet(kindSnapshotReport, snapshotReportSize, snapshotReportSize)
	w.snapshot(r.Group, r.From, r.Offer)
	w.u8(uint8(r.Outcome))
	w.u64(r.Received)
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

func decodeSnapshotChunk(body []byte) (*SnapshotChunk, error) {
	if len(body) <= snapshotChunkHeader {
		return nil, fmt.Errorf("%d bytes, a piece of a snapshot has more than %d", len(body), snapshotChunkHeader)
	}
	r := &reader{b: body}
	c := &SnapshotChunk{
		Group: raft.GroupID(r.u64()), To: raft.MemberID(r.u64()), Offer: r.offer(), Size: r.u64(), Offset: r.u64(),
	}
	c.Data = r.b
	if c.Offset > c.Size || uint64(len(c.Data)) > c.Size-c.Offset {
		return nil, fmt.Errorf("%d bytes at %d of a snapshot of %d bytes", len(c.Data), c.Offset, c.Size)
	}
	return c, nil
}

func decodeSnapshotReport(body []byte) (*SnapshotReport, error) {
	if len(body) != snapshotReportSize {
		return nil, fmt.Errorf("%d bytes, a report on a snapshot has %d", len(body), snapshotReportSize)
	}
	r := &reader{b: body}
	report := &SnapshotReport{
		Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), Offer: r.offer(),
		Outcome: SnapshotOutcome(r.u8()), Received: r.u64(),
	}
	if report.Outcome == 0 || report.Outcome > lastSnapshotOutcome {
		return nil, fmt.Errorf("outcome %d is not known to this build", report.Outcome)
	}
	return report, nil
}
