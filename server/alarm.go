package server

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// Alarm lists alarms, raises one or disarms one. As in etcd a member without a leader does not answer. What an operator raises here stands until
// an operator disarms it; what was raised by itself goes by itself, or is disarmed here.
func (s *maintenanceService) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	switch r.Action {
	case pb.AlarmRequest_GET:
		if err := s.readable(ctx, false); err != nil {
			return nil, err
		}
		return &pb.AlarmResponse{Header: s.header(nil), Alarms: s.alarms(r.Alarm)}, nil
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
	default:
		return nil, status.Errorf(codes.InvalidArgument, "balsa: there is no action %d: list, raise or disarm alarms", r.Action)
	}
	switch r.Alarm {
	case pb.AlarmType_NONE, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT:
	default:
		return nil, status.Errorf(codes.InvalidArgument, "balsa: there are no alarms of type %d: there are NOSPACE and CORRUPT", r.Alarm)
	}
	alarm := store.Alarm{Member: raft.MemberID(r.MemberID), Type: r.Alarm, Origin: store.AlarmByOperator}
	result, err := s.propose(ctx, store.EncodeAlarm(r.Action, alarm, 0))
	if err != nil {
		return nil, err
	}
	response, err := store.DecodeAlarm(result.Value)
	if err != nil {
		return nil, apiError(err)
	}
	response.Header = s.header(response.Header)
	return response, nil
}

// alarms returns those of the API's types that stand; NONE is all.
func (s *Server) alarms(kind pb.AlarmType) (list []*pb.AlarmMember) {
	for _, a := range s.store.Alarms() {
		if a.Type < store.AlarmDiskFull && (kind == pb.AlarmType_NONE || kind == a.Type) {
			list = append(list, &pb.AlarmMember{MemberID: uint64(a.Member), Alarm: a.Type})
		}
	}
	return list
}

// alarmText is how Status lists an alarm, in etcd's words.
func alarmText(a *pb.AlarmMember) string {
	return fmt.Sprintf("memberID:%d alarm:%v", a.MemberID, a.Alarm)
}

// mayGrow refuses, before it becomes an entry, what the state as this member knows it would refuse: so clients that go on writing under
// NOSPACE do not fill the log. That the alarm is over is known here as soon as it is applied here.
func (s *Server) mayGrow() error {
	for _, a := range s.store.Alarms() {
		if a.Type == pb.AlarmType_NOSPACE {
			return rpctypes.ErrGRPCNoSpace
		}
	}
	return nil
}

// checkCorruption is the check of /readyz that an alarm fails.
func (s *Server) checkCorruption(context.Context) error {
	if len(s.alarms(pb.AlarmType_CORRUPT)) > 0 {
		return fmt.Errorf("alarm activated: %v", pb.AlarmType_CORRUPT)
	}
	return nil
}
