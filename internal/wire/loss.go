package wire

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// LossRequest is what a member asks whose log has lost entries (docs/decisions/0023-repair-of-the-log.md): for those that it can name,
// or, in doubt, where the leader's log ends.
type LossRequest struct {
	Group    raft.GroupID
	From, To raft.MemberID
	Nonce    uint64 // the answer carries it back; never used twice, across restarts neither
	Term     raft.Term
	Last     raft.Index // the end of the sender's log
	Doubt    bool
	Lost     []LostRun // in order; at most MaxLostRuns
}

// LostRun is entries of one term.
type LostRun struct {
	First, Last raft.Index
	Term        raft.Term
}

// MaxLostRuns bounds one request.
const MaxLostRuns = 64

// LossAnswer answers it.
type LossAnswer struct {
	Group    raft.GroupID
	From, To raft.MemberID
	Nonce    uint64
	Term     raft.Term
	Leading  bool
	Last     raft.Index // the end of the sender's log
	// Lacks: the sender's log has something else where the first lost entry was, or ends before. Gone: it begins behind that.
	Lacks, Gone bool
	Entries     []raft.Entry // some of those that were asked for, in order; parts of the frame
}

const (
	lossRequestSize = 53
	lostRunSize     = 24
	lossAnswerSize  = 55
)

// LossRequest adds a question for lost entries.
func (e *Encoder) LossRequest(q LossRequest) {
	size := lossRequestSize + lostRunSize*len(q.Lost)
	w := e.packet(kindLossRequest, size, size)
	w.u64(uint64(q.Group))
	w.u64(uint64(q.From))
	w.u64(uint64(q.To))
	w.u64(q.Nonce)
	w.u64(uint64(q.Term))
	w.u64(uint64(q.Last))
	w.bool(q.Doubt)
	w.u32(uint32(len(q.Lost)))
	for _, v := range q.Lost {
		w.u64(uint64(v.First))
		w.u64(uint64(v.Last))
		w.u64(uint64(v.Term))
	}
}

func decodeLossRequest(body []byte) (*LossRequest, error) {
	if len(body) < lossRequestSize {
		return nil, fmt.Errorf("%d bytes, a question for lost entries has at least %d", len(body), lossRequestSize)
	}
	r := &reader{b: body}
	q := &LossRequest{Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), To: raft.MemberID(r.u64()), Nonce: r.u64(),
		Term: r.term(), Last: r.index(), Doubt: r.bool()}
	n := r.u32()
	if r.badFlag || n > MaxLostRuns || int(n)*lostRunSize != len(r.b) {
		return nil, fmt.Errorf("%d runs in %d bytes, at most %d of %d bytes each", n, len(r.b), MaxLostRuns, lostRunSize)
	}
	for range n {
		v := LostRun{First: r.index(), Last: r.index(), Term: r.term()}
		if v.First == 0 || v.Last < v.First {
			return nil, fmt.Errorf("entries %d to %d are none", v.First, v.Last)
		}
		q.Lost = append(q.Lost, v)
	}
	return q, nil
}

// LossAnswer adds an answer. Its entries become parts of the frame.
func (e *Encoder) LossAnswer(a LossAnswer) {
	body := lossAnswerSize
	for _, entry := range a.Entries {
		body += len(entry)
	}
	w := e.packet(kindLossAnswer, lossAnswerSize, body)
	w.u64(uint64(a.Group))
	w.u64(uint64(a.From))
	w.u64(uint64(a.To))
	w.u64(a.Nonce)
	w.u64(uint64(a.Term))
	w.u64(uint64(a.Last))
	w.bool(a.Leading)
	w.bool(a.Lacks)
	w.bool(a.Gone)
	w.u32(uint32(len(a.Entries)))
	for _, entry := range a.Entries {
		e.part(entry)
	}
}

func decodeLossAnswer(body []byte) (*LossAnswer, error) {
	if len(body) < lossAnswerSize {
		return nil, fmt.Errorf("%d bytes, an answer about lost entries has at least %d", len(body), lossAnswerSize)
	}
	r := &reader{b: body}
	a := &LossAnswer{Group: raft.GroupID(r.u64()), From: raft.MemberID(r.u64()), To: raft.MemberID(r.u64()), Nonce: r.u64(),
		Term: r.term(), Last: r.index(), Leading: r.bool(), Lacks: r.bool(), Gone: r.bool()}
	n := r.u32()
	if r.badFlag {
		return nil, errors.New("a flag is neither 0 nor 1")
	}
	if err := checkCount(n, raft.EntryHeaderSize, len(r.b)); err != nil {
		return nil, err
	}
	for range n {
		entry, rest, err := raft.CutEntry(r.b)
		if err == nil {
			err = entry.Check()
		}
		if err == nil && entry.Group() != a.Group {
			err = fmt.Errorf("it belongs to group %d, the answer to group %d", entry.Group(), a.Group)
		}
		if err != nil {
			return nil, err
		}
		a.Entries, r.b = append(a.Entries, entry), rest
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last entry", len(r.b))
	}
	return a, nil
}
