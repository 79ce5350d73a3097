package store

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A result is one byte, which is 0 or the index of an error, and after a 0 the response with the revision as the
// only thing in its header. Members of different versions exchange results (a follower forwards a command), so
// the indexes stay.
const resultOK = 0

// ErrMalformed is the answer to a command whose request does not decode. Nothing that this package encodes gives it.
var ErrMalformed = status.Error(codes.InvalidArgument, "balsa: malformed command")

// ErrStale is the answer to the end of a lease, or to a reading of the lease clock, that others have overtaken.
var ErrStale = status.Error(codes.FailedPrecondition, "balsa: another leader or another renewal came first")

var resultErrors = [...]error{
	1:  rpctypes.ErrGRPCCompacted,
	2:  rpctypes.ErrGRPCFutureRev,
	3:  rpctypes.ErrGRPCKeyNotFound,
	4:  rpctypes.ErrGRPCLeaseNotFound,
	5:  rpctypes.ErrGRPCEmptyKey,
	6:  rpctypes.ErrGRPCInvalidSortOption,
	7:  ErrMalformed,
	8:  rpctypes.ErrGRPCLeaseExist,
	9:  rpctypes.ErrGRPCLeaseTTLTooLarge,
	10: ErrStale,
	11: rpctypes.ErrGRPCNoSpace,
	12: rpctypes.ErrGRPCCorrupt,
	13: rpctypes.ErrGRPCRequestTooManyRequests,
}

// errorResult returns the result that says err, if err is an answer to a command rather than a failure of the replica.
func errorResult(err error) (result []byte, ok bool) {
	for code, known := range resultErrors {
		if known != nil && errors.Is(err, known) {
			return []byte{byte(code)}, true
		}
	}
	return nil, false
}

// headerField and revisionField are pb's field numbers, for the responses that are encoded by hand.
const (
	headerField   = 1
	revisionField = 3
)

// appendHeaderResult appends a result with a response that has a header and nothing else yet.
func appendHeaderResult(dst []byte, revision int64) []byte {
	dst = append(dst, resultOK)
	dst = protowire.AppendTag(dst, headerField, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeVarint(uint64(revision))))
	dst = protowire.AppendTag(dst, revisionField, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(revision))
}

// messageResult returns the result of a response.
func messageResult(response proto.Message) ([]byte, error) {
	result := make([]byte, 1, 1+proto.Size(response))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(result, response)
}

// DecodeResult decodes what Apply answered to a command of the given kind: a response, or one of rpctypes' errors.
func DecodeResult(kind Kind, result []byte) (proto.Message, error) {
	switch kind {
	case KindPut:
		return decodeResult(result, &pb.PutResponse{})
	case KindDeleteRange:
		return decodeResult(result, &pb.DeleteRangeResponse{})
	case KindTxn:
		return decodeResult(result, &pb.TxnResponse{})
	case KindCompaction:
		return decodeResult(result, &pb.CompactionResponse{})
	case KindMember:
		return decodeResult(result, &pb.CompactionResponse{}) // a header
	case KindLeaseGrant:
		return decodeResult(result, &pb.LeaseGrantResponse{})
	case KindLeaseRevoke, KindLeaseExpire:
		return decodeResult(result, &pb.LeaseRevokeResponse{})
	case KindLeaseRenew:
		return decodeResult(result, &pb.LeaseKeepAliveResponse{})
	case KindLeaseTick:
		return decodeResult(result, &pb.LeaseCheckpointResponse{})
	case KindAlarm:
		return decodeResult(result, &pb.AlarmResponse{})
	case KindQuota:
		return decodeResult(result, &pb.CompactionResponse{}) // a header
	}
	return nil, fmt.Errorf("store: commands of %v have no result", kind)
}

// DecodePut is DecodeResult for a put; its siblings do the same for their kinds.
func DecodePut(result []byte) (*pb.PutResponse, error) {
	return decodeResult(result, &pb.PutResponse{})
}

// DecodeDeleteRange decodes the result of a delete.
func DecodeDeleteRange(result []byte) (*pb.DeleteRangeResponse, error) {
	return decodeResult(result, &pb.DeleteRangeResponse{})
}

// DecodeTxn decodes the result of a transaction.
func DecodeTxn(result []byte) (*pb.TxnResponse, error) {
	return decodeResult(result, &pb.TxnResponse{})
}

// DecodeCompaction decodes the result of a compaction.
func DecodeCompaction(result []byte) (*pb.CompactionResponse, error) {
	return decodeResult(result, &pb.CompactionResponse{})
}

func decodeResult[M proto.Message](result []byte, response M) (M, error) {
	var none M
	if err := resultError(result); err != nil {
		return none, err
	}
	if err := unmarshal(result[1:], response); err != nil {
		return none, fmt.Errorf("store: decoding a result: %w", err)
	}
	return response, nil
}

// resultError returns the error that a result says, nil for a response.
func resultError(result []byte) error {
	if len(result) == 0 {
		return errors.New("store: the result is empty")
	}
	if code := int(result[0]); code != resultOK {
		if code >= len(resultErrors) || resultErrors[code] == nil {
			return fmt.Errorf("store: result code %d comes from a newer version of balsa", code)
		}
		return resultErrors[code]
	}
	return nil
}
