package server

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// notYet is the answer of a method that is in the API and not in this release. It names itself, so that a log
// says what was missing.
func notYet(fullMethod string) error {
	return status.Errorf(codes.Unimplemented, "balsa: %s is not available yet", strings.TrimPrefix(fullMethod, "/"))
}

// available lists the methods that this release has, by service. What the API has besides answers notYet.
var available = map[string][]string{
	pb.KV_ServiceDesc.ServiceName:          {"Range", "RangeStream", "Put", "DeleteRange", "Txn", "Compact"},
	pb.Watch_ServiceDesc.ServiceName:       {"Watch"},
	pb.Lease_ServiceDesc.ServiceName:       {"LeaseGrant", "LeaseRevoke", "LeaseKeepAlive", "LeaseTimeToLive", "LeaseLeases"},
	lockServiceName:                        {"Lock", "Unlock"},
	electionServiceName:                    {"Campaign", "Proclaim", "Leader", "Observe", "Resign"},
	pb.Cluster_ServiceDesc.ServiceName:     {"MemberList", "MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"},
	pb.Maintenance_ServiceDesc.ServiceName: {"Alarm", "Status", "Defragment", "Hash", "HashKV", "MoveLeader", "Snapshot"},
}

func unavailableUnary(fullMethod string) grpc.MethodHandler {
	return func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		return nil, notYet(fullMethod)
	}
}

func unavailableStream(fullMethod string) grpc.StreamHandler {
	return func(any, grpc.ServerStream) error { return notYet(fullMethod) }
}
