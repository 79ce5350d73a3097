package balsa

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/balsadb/balsa/internal/wire"
	"github.com/balsadb/balsa/raft"
)

// changeRequest asks the leader for a change of members. It travels as the payload of a proposal of the kind EntryConfiguration, which
// never gets into a log: the leader makes an entry of its own from it.
//
//	0  u8   version, u8 flags (1 lossy, 2 dry run), u16 number of changes
//	4  u64  index of the configuration that the change was made for
//	12      changes: u8 kind, u64 member, u64 replaces, u16 length of the address, address
type changeRequest struct {
	from    Index
	lossy   bool
	dryRun  bool
	changes []raft.Change
}

const (
	requestVersion = 1
	requestHead    = 12
	changeHead     = 19

	requestLossy  = 1
	requestDryRun = 2
)

func (q *changeRequest) encode() raft.Entry {
	flags := byte(0)
	if q.lossy {
		flags |= requestLossy
	}
	if q.dryRun {
		flags |= requestDryRun
	}
	b := []byte{requestVersion, flags}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(q.changes)))
	b = binary.LittleEndian.AppendUint64(b, uint64(q.from))
	for _, c := range q.changes {
		b = append(b, byte(c.Kind))
		b = binary.LittleEndian.AppendUint64(b, uint64(c.Member))
		b = binary.LittleEndian.AppendUint64(b, uint64(c.Replaces))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(c.Address)))
		b = append(b, c.Address...)
	}
	return raft.SealedEntry(raft.EntryConfiguration, b)
}

func decodeChangeRequest(b []byte) (q changeRequest, err error) {
	if len(b) < requestHead || b[0] != requestVersion {
		return q, fmt.Errorf("%w: a request of %d bytes that this build cannot read", raft.ErrBadChange, len(b))
	}
	q.lossy, q.dryRun = b[1]&requestLossy != 0, b[1]&requestDryRun != 0
	count := binary.LittleEndian.Uint16(b[2:])
	q.from = Index(binary.LittleEndian.Uint64(b[4:]))
	b = b[requestHead:]
	for range count {
		if len(b) < changeHead {
			return q, fmt.Errorf("%w: the request is cut short", raft.ErrBadChange)
		}
		c := raft.Change{
			Kind:   raft.ChangeKind(b[0]),
			Member: MemberID(binary.LittleEndian.Uint64(b[1:])), Replaces: MemberID(binary.LittleEndian.Uint64(b[9:])),
		}
		n := int(binary.LittleEndian.Uint16(b[17:]))
		if b = b[changeHead:]; len(b) < n {
			return q, fmt.Errorf("%w: the request is cut short", raft.ErrBadChange)
		}
		c.Address, b = string(b[:n]), b[n:]
		q.changes = append(q.changes, c)
	}
	return q, nil
}

// changeErrors are the refusals of a change, by their number on the wire, counted from 1.
var changeErrors = []error{
	raft.ErrMemberExists, raft.ErrMemberUnknown, raft.ErrNotLearner, raft.ErrLearnerNotReady, raft.ErrTooManyMembers, raft.ErrBadChange,
	raft.ErrMajorityLost, raft.ErrConfigurationChanged, raft.ErrChangeUnderWay, ErrMembersFixed,
}

// changeRefusal is the answer to a forwarded change that was not made; ok is false where err is none of changeErrors.
func changeRefusal(id uint64, err error) (result wire.Result, ok bool) {
	for i, known := range changeErrors {
		if errors.Is(err, known) {
			return wire.Result{ID: id, Code: wire.CodeChangeRefused, Text: err.Error(), Value: []byte{byte(i + 1)}}, true
		}
	}
	return result, false
}

// changeRefused turns such an answer into what the caller gets.
func changeRefused(item *wire.Result) error {
	if len(item.Value) == 1 && 0 < item.Value[0] && int(item.Value[0]) <= len(changeErrors) {
		return fromLeader(changeErrors[item.Value[0]-1], item.Text)
	}
	return fromLeader(raft.ErrBadChange, item.Text)
}
