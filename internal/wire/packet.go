package wire

import (
	"math"
	"time"

	"github.com/balsadb/balsa/raft"
)

// Packet is one thing that was said: exactly one of its fields is set.
type Packet struct {
	// Envelope is a message of the protocol; its Message is nil where the packet is something else.
	Envelope  raft.Envelope
	Proposals *ForwardProposals
	Results   *ForwardResults
	Chunk     *SnapshotChunk
	Report    *SnapshotReport
	Request   *StateRequest
	Loss      *LossRequest
	Found     *LossAnswer
	Digests   *StateDigests
	Order     *SnapshotOrder
	News      *SnapshotNews
}

// From returns the sender that the packet names; 0 where it names none.
func (p *Packet) From() raft.MemberID {
	switch {
	case p.Proposals != nil:
		return p.Proposals.From
	case p.Results != nil:
		return 0
	case p.Chunk != nil:
		return p.Chunk.Source.Sender
	case p.Report != nil:
		return p.Report.From
	case p.Loss != nil:
		return p.Loss.From
	case p.Found != nil:
		return p.Found.From
	case p.Request != nil:
		return p.Request.From
	case p.Digests != nil:
		return p.Digests.From
	case p.Order != nil:
		return p.Order.From
	case p.News != nil:
		return p.News.From
	}
	return p.Envelope.From
}

// ForwardProposals hands proposals to the group's leader. They travel one hop: a receiver that does not lead
// answers CodeNotLeader, and never passes them on, so that no proposal runs in circles or is appended twice (E54).
type ForwardProposals struct {
	Group raft.GroupID
	From  raft.MemberID // who waits for the results
	Items []Proposal
}

// Proposal is one forwarded proposal.
type Proposal struct {
	// ID is the sender's name for it; the result carries it back.
	ID uint64
	// Remaining is how much longer the proposer waits, or NoDeadline. A duration and not an instant, since the two
	// hosts' clocks have nothing in common. A negative one is written as 0: its time is over.
	Remaining time.Duration
	// Entry is sealed but not placed.
	Entry raft.Entry
}

// NoDeadline is the Remaining of a proposal that waits for as long as it takes.
const NoDeadline time.Duration = math.MaxInt64

// ForwardResults answers proposals that were forwarded, in any order and grouping.
type ForwardResults struct {
	Group raft.GroupID
	Items []Result
}

// Result is what became of one forwarded proposal.
type Result struct {
	ID    uint64
	Index raft.Index // where it was applied; the proposer's host answers once it has applied this far itself
	Term  raft.Term
	Code  Code
	Text  string // why, in words, where Code is not CodeApplied; cut at MaxText
	// Value is the state machine's result. It may become part of a frame, so nobody may write to it any more.
	Value []byte
}

// MaxText is the longest Text in bytes; longer ones are cut.
const MaxText = math.MaxUint16

// Code says what kind of result it is. A receiver takes one that it does not know for CodeUnknown: that is what
// can be said about an outcome that one cannot read.
type Code uint16

const (
	// CodeApplied: the entry was committed and applied at Index.
	CodeApplied Code = 1
	// CodeNotLeader, CodeOverloaded, CodeTooLarge, CodeTransferring: nothing was appended (E55).
	CodeNotLeader    Code = 2
	CodeOverloaded   Code = 3
	CodeTooLarge     Code = 4
	CodeTransferring Code = 5
	// CodeUnknown: it was appended, and the leader cannot say what became of it (E47).
	CodeUnknown Code = 6
	// CodeFenced: the group has stopped on the leader's host; nothing was appended.
	CodeFenced Code = 7
	// CodeClosed: the group is closing on the leader's host; nothing was appended.
	CodeClosed Code = 8
	// CodeChangeRefused: a change of members was not made; the value is the number of the reason.
	CodeChangeRefused Code = 9
)

// kind is a packet's second byte.
type kind uint8

const (
	kindPreVoteRequest    kind = 1
	kindPreVoteResponse   kind = 2
	kindRequestVote       kind = 3
	kindVoteResponse      kind = 4
	kindAppendEntries     kind = 5
	kindAppendResponse    kind = 6
	kindTimeoutNow        kind = 7
	kindReadIndexRequest  kind = 8
	kindReadIndexResponse kind = 9
	kindForwardProposals  kind = 16
	kindForwardResults    kind = 17
	kindSnapshotChunk     kind = 24
	kindSnapshotReport    kind = 25
	kindStateDigests      kind = 34
	kindLossRequest       kind = 32
	kindLossAnswer        kind = 33
	kindStateRequest      kind = 35
	kindSnapshotPiece     kind = 36
	kindSnapshotAnswer    kind = 37
	kindSnapshotOrder     kind = 38
	kindSnapshotNews      kind = 39
)

// Version is the packet format that this build reads and writes.
const Version = 1

// Sizes of the fixed parts, in bytes; see docs/formats-wire.md.
const (
	packetHeader    = 8
	envelopeHeader  = 40
	appendHeader    = 44 // of an AppendEntries, in front of its entries
	proposalsHeader = 20
	proposalRow     = 16
	resultsHeader   = 12
	resultRow       = 32
)

// fixedSizes are the sizes of the messages that have no variable part.
var fixedSizes = [...]int{
	kindPreVoteRequest:    32,
	kindPreVoteResponse:   17,
	kindRequestVote:       25,
	kindVoteResponse:      9,
	kindAppendResponse:    57,
	kindTimeoutNow:        8,
	kindReadIndexRequest:  16,
	kindReadIndexResponse: 24,
}
