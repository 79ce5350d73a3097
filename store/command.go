package store

import (
	"errors"
	"fmt"

	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/runtime/protoiface"
)

// Kind says what a command does. The numbers are in the log: none is ever used for something else. A replica that
// meets a kind, or a version of one, that it does not know stops rather than skip it.
type Kind uint8

// The kinds. 16–31 are for leases, 48–63 for alarms, and 32–47 are kept for users and roles.
const (
	KindPut         Kind = 1
	KindDeleteRange Kind = 2
	KindTxn         Kind = 3
	KindCompaction  Kind = 4
	// KindMember publishes a member's name and URLs (a pb.Member).
	KindMember Kind = 5

	KindLeaseGrant  Kind = 16
	KindLeaseRevoke Kind = 17
	// KindLeaseRenew gives any number of leases their whole time to live again.
	KindLeaseRenew Kind = 18
	// KindLeaseExpire revokes a lease whose time is over, in the eyes of the leader of a term.
	KindLeaseExpire Kind = 19
	// KindLeaseTick tells the members the leader's lease clock.
	KindLeaseTick Kind = 20

	// KindAlarm raises an alarm or takes it back.
	KindAlarm Kind = 48
	// KindQuota tells the members the leader's limit of the size.
	KindQuota Kind = 49
)

func (k Kind) String() string {
	switch k {
	case KindPut:
		return "put"
	case KindDeleteRange:
		return "delete-range"
	case KindTxn:
		return "txn"
	case KindCompaction:
		return "compaction"
	case KindMember:
		return "member"
	case KindLeaseGrant:
		return "lease-grant"
	case KindLeaseRevoke:
		return "lease-revoke"
	case KindLeaseRenew:
		return "lease-renew"
	case KindLeaseExpire:
		return "lease-expire"
	case KindLeaseTick:
		return "lease-tick"
	case KindAlarm:
		return "alarm"
	case KindQuota:
		return "quota"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// commandVersion is the version of every kind that this build knows.
const commandVersion = 1

// commandHeader is what a command has in front of its request: kind and version.
const commandHeader = 2

// ErrUnknownCommand is wrapped by Apply's error for a command that this build does not know.
var ErrUnknownCommand = errors.New("store: unknown command")

// errMalformed says that a command's request does not decode.
var errMalformed = errors.New("store: malformed command")

// EncodePut returns the sealed entry of a command. Like its siblings it encodes the request once, into the
// entry's own memory, and takes from the request what this build does not know: replicas of another version must
// not see more in a command than those of this one.
func EncodePut(r *pb.PutRequest) (raft.Entry, error) {
	dropUnknown(r)
	return encode(KindPut, r)
}

// EncodeDeleteRange returns the sealed entry of a command.
func EncodeDeleteRange(r *pb.DeleteRangeRequest) (raft.Entry, error) {
	dropUnknown(r)
	return encode(KindDeleteRange, r)
}

// EncodeTxn returns the sealed entry of a command.
func EncodeTxn(r *pb.TxnRequest) (raft.Entry, error) {
	dropUnknownTxn(r)
	return encode(KindTxn, r)
}

// EncodeCompaction returns the sealed entry of a command.
func EncodeCompaction(r *pb.CompactionRequest) (raft.Entry, error) {
	dropUnknown(r)
	return encode(KindCompaction, r)
}

// EncodeMember returns the sealed entry that publishes a member's attributes.
func EncodeMember(m *pb.Member) (raft.Entry, error) {
	dropUnknown(m)
	return encode(KindMember, m)
}

func encode(kind Kind, request proto.Message) (raft.Entry, error) {
	size := commandHeader + proto.Size(request)
	if size > raft.MaxPayload {
		return nil, fmt.Errorf("store: a command of %d bytes, the limit is %d", size, raft.MaxPayload)
	}
	entry := raft.NewEntry(raft.EntryNormal, size)
	payload := entry.Payload()
	payload[0], payload[1] = byte(kind), commandVersion
	written, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(payload[:commandHeader], request)
	if err != nil {
		return nil, fmt.Errorf("store: encoding a command: %w", err)
	}
	if len(written) != size || &written[0] != &payload[0] {
		return nil, errors.New("store: a request changed while it was being encoded")
	}
	entry.Seal()
	return entry, nil
}

// CommandKind returns the kind of a command, 0 where the payload is none.
func CommandKind(payload []byte) Kind {
	if len(payload) < commandHeader {
		return 0
	}
	return Kind(payload[0])
}

// DecodeCommand returns the request in a command's payload, for tools that print logs.
func DecodeCommand(payload []byte) (Kind, proto.Message, error) {
	kind, request, err := cutCommand(payload)
	if err != nil {
		return kind, nil, err
	}
	if kind >= KindLeaseRenew {
		message, err := numbersMessage(kind, request)
		return kind, message, err
	}
	message := newRequest(kind)
	return kind, message, unmarshal(request, message)
}

func newRequest(kind Kind) proto.Message {
	switch kind {
	case KindPut:
		return &pb.PutRequest{}
	case KindDeleteRange:
		return &pb.DeleteRangeRequest{}
	case KindTxn:
		return &pb.TxnRequest{}
	case KindCompaction:
		return &pb.CompactionRequest{}
	case KindLeaseGrant:
		return &pb.LeaseGrantRequest{}
	case KindLeaseRevoke:
		return &pb.LeaseRevokeRequest{}
	}
	return &pb.Member{}
}

// cutCommand returns a command's kind, which is a known one, and its request. A payload without a header is malformed.
func cutCommand(payload []byte) (Kind, []byte, error) {
	if len(payload) < commandHeader {
		return 0, nil, fmt.Errorf("%w: %d bytes, a command has %d or more", errMalformed, len(payload), commandHeader)
	}
	kind, version := Kind(payload[0]), payload[1]
	known := KindPut <= kind && kind <= KindMember || KindLeaseGrant <= kind && kind <= KindLeaseTick || KindAlarm <= kind && kind <= KindQuota
	if !known || version != commandVersion {
		return kind, nil, fmt.Errorf("%w: %v, version %d; this build knows version %d of the kinds %v to %v, %v to %v and %v to %v: "+
			"this member runs an older version of balsa than the one that wrote the command",
			ErrUnknownCommand, kind, version, commandVersion, KindPut, KindMember, KindLeaseGrant, KindLeaseTick, KindAlarm, KindQuota)
	}
	return kind, payload[commandHeader:], nil
}

// unmarshal decodes a request whose byte fields alias encoded.
func unmarshal(encoded []byte, into proto.Message) error {
	proto.Reset(into)
	message := into.ProtoReflect()
	methods := message.ProtoMethods()
	if methods == nil || methods.Unmarshal == nil {
		return wrapMalformed(proto.Unmarshal(encoded, into))
	}
	_, err := methods.Unmarshal(protoiface.UnmarshalInput{
		Message: message,
		Buf:     encoded,
		Flags:   protoiface.UnmarshalAliasBuffer,
		Depth:   protowire.DefaultRecursionLimit,
	})
	return wrapMalformed(err)
}

func wrapMalformed(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

func dropUnknown(m proto.Message) {
	if message := m.ProtoReflect(); len(message.GetUnknown()) > 0 {
		message.SetUnknown(nil)
	}
}

func dropUnknownTxn(r *pb.TxnRequest) {
	dropUnknown(r)
	for _, c := range r.Compare {
		dropUnknown(c)
	}
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op != nil {
				dropUnknown(op)
			}
			switch request := op.GetRequest().(type) {
			case *pb.RequestOp_RequestRange:
				dropUnknown(request.RequestRange)
			case *pb.RequestOp_RequestPut:
				dropUnknown(request.RequestPut)
			case *pb.RequestOp_RequestDeleteRange:
				dropUnknown(request.RequestDeleteRange)
			case *pb.RequestOp_RequestTxn:
				dropUnknownTxn(request.RequestTxn)
			}
		}
	}
}
