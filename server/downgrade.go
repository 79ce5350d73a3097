package server

import (
	"context"
	"regexp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// versionForm is what etcd takes for a version: 3.6, or 3.6.0 with what may follow that.
var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+(\.[0-9]+([-+].*)?)?$`)

// Downgrade answers as etcd does where it cannot be done: there is no version of etcd's storage to go back to here. What this server has in its
// place is the cluster's level (docs/decisions/0028): until that has risen, members go back to the build before without being asked.
func (s *maintenanceService) Downgrade(_ context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if !versionForm.MatchString(r.Version) {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case pb.DowngradeRequest_CANCEL:
		return nil, rpctypes.ErrGRPCNoInflightDowngrade
	}
	return nil, status.Errorf(codes.InvalidArgument, "balsa: there is no action %d of a downgrade", r.Action)
}
