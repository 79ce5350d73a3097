package store

import (
	"encoding/binary"
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The commands that are not requests of etcd's API are numbers, u64 each:
//
//	renew:  ids
//	expire: the proposer's term, id, index of the renewal that it knows of
//	tick:   the proposer's term, lease clock in milliseconds, an index that the proposer had applied before it read that
//	alarm:  action, member, type, origin, the proposer's term or 0
//	quota:  the proposer's term, bytes, member

// EncodeLeaseGrant returns the sealed entry of a command. The id must be chosen, and the time to live be positive.
func EncodeLeaseGrant(r *pb.LeaseGrantRequest) (raft.Entry, error) {
	dropUnknown(r)
	return encode(KindLeaseGrant, r)
}

// EncodeLeaseRevoke returns the sealed entry of a command.
func EncodeLeaseRevoke(r *pb.LeaseRevokeRequest) (raft.Entry, error) {
	dropUnknown(r)
	return encode(KindLeaseRevoke, r)
}

// EncodeLeaseRenew returns the sealed entry that gives leases their whole time to live again.
func EncodeLeaseRenew(ids []int64) raft.Entry {
	entry, payload := newNumbers(KindLeaseRenew, len(ids))
	for i, id := range ids {
		binary.LittleEndian.PutUint64(payload[8*i:], uint64(id))
	}
	entry.Seal()
	return entry
}

// EncodeLeaseExpire returns the sealed entry that ends a lease whose time is over. It has no effect, and is answered with
// ErrStale, where it is appended in another term, or where the lease was renewed again before.
func EncodeLeaseExpire(term balsa.Term, id int64, renewed balsa.Index) raft.Entry {
	return encodeNumbers(KindLeaseExpire, uint64(term), uint64(id), uint64(renewed))
}

// EncodeLeaseTick returns the sealed entry that tells all members the lease clock, in milliseconds, as it was read after the
// proposer had applied an index: only what was renewed up to there is counted from this reading. It has no effect, and is
// answered with ErrStale, where it is appended in another term, or where the clock would go back.
func EncodeLeaseTick(term balsa.Term, clock uint64, applied balsa.Index) raft.Entry {
	return encodeNumbers(KindLeaseTick, uint64(term), clock, uint64(applied))
}

func encodeNumbers(kind Kind, numbers ...uint64) raft.Entry {
	entry, payload := newNumbers(kind, len(numbers))
	for i, n := range numbers {
		binary.LittleEndian.PutUint64(payload[8*i:], n)
	}
	entry.Seal()
	return entry
}

func newNumbers(kind Kind, count int) (raft.Entry, []byte) {
	entry := raft.NewEntry(raft.EntryNormal, commandHeader+8*count)
	payload := entry.Payload()
	payload[0], payload[1] = byte(kind), commandVersion
	return entry, payload[commandHeader:]
}

// cutNumbers returns the numbers of a command, which must be count; −1 is any.
func cutNumbers(request []byte, count int) ([]uint64, error) {
	if len(request)%8 != 0 || count >= 0 && len(request) != 8*count {
		return nil, fmt.Errorf("%w: numbers in %d bytes", errMalformed, len(request))
	}
	numbers := make([]uint64, len(request)/8)
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint64(request[8*i:])
	}
	return numbers, nil
}

// numbersMessage shows such a command as the message of etcd's log that is closest to it.
func numbersMessage(kind Kind, request []byte) (proto.Message, error) {
	if kind == KindAlarm {
		action, a, _, err := decodeAlarmCommand(request)
		return &pb.AlarmRequest{Action: action, MemberID: uint64(a.Member), Alarm: a.Type}, err
	}
	numbers, err := cutNumbers(request, map[Kind]int{KindLeaseRenew: -1, KindLeaseExpire: 3, KindLeaseTick: 3, KindQuota: 3}[kind])
	if err != nil {
		return nil, err
	}
	if kind == KindLeaseExpire {
		return &pb.LeaseRevokeRequest{ID: int64(numbers[1])}, nil
	}
	message := &pb.LeaseCheckpointRequest{} // for a quota, too, which etcd has none of
	if kind == KindLeaseRenew {
		for _, id := range numbers {
			message.Checkpoints = append(message.Checkpoints, &pb.LeaseCheckpoint{ID: int64(id)})
		}
	}
	return message, nil
}

// renewalField is pb's number of the time to live in a LeaseKeepAliveResponse; the answer to a renewal has as many as
// it has leases.
const renewalField = 3

func appendRenewal(dst []byte, ttl int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, renewalField, protowire.VarintType), uint64(ttl))
}

// DecodeLeaseRenew decodes the result of a renewal: the revision, and for each lease that was asked for its time to live in
// seconds, 0 where there is no such lease.
func DecodeLeaseRenew(result []byte) (revision int64, ttls []int64, err error) {
	response, err := EncodedResponse(result)
	if err != nil {
		return 0, nil, err
	}
	header := &pb.LeaseKeepAliveResponse{}
	if err := proto.Unmarshal(response, header); err != nil {
		return 0, nil, fmt.Errorf("store: decoding a result: %w", err)
	}
	for len(response) > 0 { // it was well formed just now
		number, kind, n := protowire.ConsumeTag(response)
		if number == renewalField {
			ttl, _ := protowire.ConsumeVarint(response[n:])
			ttls = append(ttls, int64(ttl))
		}
		response = response[n+protowire.ConsumeFieldValue(number, kind, response[n:]):]
	}
	return header.Header.GetRevision(), ttls, nil
}

// DecodeLeaseGrant decodes the result of a grant.
func DecodeLeaseGrant(result []byte) (*pb.LeaseGrantResponse, error) {
	return decodeResult(result, &pb.LeaseGrantResponse{})
}

// DecodeLeaseRevoke decodes the result of a revocation.
func DecodeLeaseRevoke(result []byte) (*pb.LeaseRevokeResponse, error) {
	return decodeResult(result, &pb.LeaseRevokeResponse{})
}
