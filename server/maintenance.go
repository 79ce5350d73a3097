package server

import (
	"context"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
)

// maintenanceService is what is there so far of the etcd v3 Maintenance service.
type maintenanceService struct {
	pb.UnimplementedMaintenanceServer
	*Server
	backups atomic.Int32 // that are being sent
}

// storageVersion is the level of etcd's data model that the store has: clients decide features on it.
const storageVersion = "3.7.0"

// Status tells what this member knows, without asking anybody.
func (s *maintenanceService) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	leadership := s.group.Leadership()
	counters := s.group.Counters()
	response := &pb.StatusResponse{
		Header:           s.header(nil),
		Version:          version.Version,
		DbSize:           s.store.Size(),
		DbSizeInUse:      s.store.SizeInUse(),
		Leader:           uint64(leadership.Leader),
		RaftTerm:         uint64(leadership.Term),
		RaftIndex:        uint64(counters.Committed),
		RaftAppliedIndex: uint64(counters.Applied),
		StorageVersion:   storageVersion,
		DbSizeQuota:      s.store.Quota().Bytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
		IsLearner:        s.isLearner(),
	}
	if leadership.Leader == 0 {
		response.Errors = append(response.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range s.alarms(pb.AlarmType_NONE) {
		response.Errors = append(response.Errors, alarmText(a))
	}
	return response, nil
}

func (s *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	if err := s.recovered(ctx); err != nil {
		return nil, err
	}
	hash, revision, err := s.store.Hash(ctx)
	if err != nil {
		return nil, apiError(err)
	}
	return &pb.HashResponse{Header: s.header(&pb.ResponseHeader{Revision: revision}), Hash: hash}, nil
}

func (s *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	if err := s.recovered(ctx); err != nil {
		return nil, err
	}
	hash, compacted, hashed, err := s.store.HashKV(ctx, r.Revision)
	if err != nil {
		return nil, apiError(err)
	}
	return &pb.HashKVResponse{Header: s.header(nil), Hash: hash, CompactRevision: compacted, HashRevision: hashed}, nil
}
