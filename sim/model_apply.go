package sim

import (
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/store"
)

// apply applies the next command, and compares its result with the model's.
func (m *model) apply(c *balsa.Command) error {
	kind := store.CommandKind(c.Payload)
	if kind == store.KindLeaseRenew {
		return m.applyRenewal(c)
	}
	want, wantErr := m.answer(kind, c)
	got, gotErr := store.DecodeResult(kind, c.Result)
	switch {
	case wantErr != nil || gotErr != nil:
		if !errors.Is(gotErr, wantErr) {
			return fmt.Errorf("a %v was answered with the error %v, the replay says %v", kind, gotErr, wantErr)
		}
	case !proto.Equal(got, want):
		return fmt.Errorf("a %v was answered with %.400v, the replay says %.400v", kind, got, want)
	}
	return nil
}

// answer applies a command and returns what it must be answered.
func (m *model) answer(kind store.Kind, c *balsa.Command) (response proto.Message, err error) {
	header := func() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: m.revision} }
	switch kind {
	case store.KindLeaseExpire:
		n := commandNumbers(c.Payload)
		err = m.expire(c, balsa.Term(n[0]), int64(n[1]), balsa.Index(n[2]))
		return &pb.LeaseRevokeResponse{Header: header()}, err
	case store.KindLeaseTick:
		n := commandNumbers(c.Payload)
		err = m.tick(c, balsa.Term(n[0]), n[1], balsa.Index(n[2]))
		return &pb.LeaseCheckpointResponse{Header: header()}, err
	}
	_, request, err := store.DecodeCommand(c.Payload)
	if err != nil {
		return nil, err
	}
	switch r := request.(type) {
	case *pb.PutRequest:
		if err := m.checkPut(r, m.revision); err != nil {
			return nil, err
		}
		return m.begin().putRequest(r)
	case *pb.DeleteRangeRequest:
		return m.begin().deleteRange(r), nil
	case *pb.TxnRequest:
		return m.txn(r)
	case *pb.CompactionRequest:
		err = m.compact(r.Revision)
		return &pb.CompactionResponse{Header: header()}, err
	case *pb.LeaseGrantRequest:
		err = m.grant(c.Index, r)
		return &pb.LeaseGrantResponse{Header: header(), ID: r.ID, TTL: r.TTL}, err
	case *pb.LeaseRevokeRequest:
		err = m.revoke(c.Index, r.ID, false)
		return &pb.LeaseRevokeResponse{Header: header()}, err
	case *pb.Member:
		return &pb.CompactionResponse{Header: header()}, nil
	}
	return nil, fmt.Errorf("the replay does not know commands of kind %v", kind)
}

func (m *model) applyRenewal(c *balsa.Command) error {
	var want []int64
	for _, id := range commandNumbers(c.Payload) {
		ttl := int64(0)
		if one := m.lease(int64(id)); one != nil {
			ttl = one.ttl
			m.renew(one, c.Index)
		}
		want = append(want, ttl)
	}
	revision, got, err := store.DecodeLeaseRenew(c.Result)
	if err != nil || revision != m.revision || !slices.Equal(got, want) {
		return fmt.Errorf("a renewal was answered with %v at revision %d (%v), the replay says %v at %d", got, revision, err, want, m.revision)
	}
	return nil
}

func (m *model) compact(revision int64) error {
	switch {
	case revision <= m.compacted:
		return rpctypes.ErrGRPCCompacted
	case revision > m.revision:
		return rpctypes.ErrGRPCFutureRev
	}
	m.compacted = revision
	m.compactions[revision] = true
	return nil
}
