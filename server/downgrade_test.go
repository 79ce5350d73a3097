package server

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// TestDowngradesAreRefusedInEtcdsWords: nothing is under way, no version can be gone back to, and what is none is told from that.
func TestDowngradesAreRefusedInEtcdsWords(t *testing.T) {
	for _, row := range []struct {
		action  pb.DowngradeRequest_DowngradeAction
		version string
		want    error
	}{
		{pb.DowngradeRequest_VALIDATE, "3.6.0", rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
		{pb.DowngradeRequest_ENABLE, "3.6", rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
		{pb.DowngradeRequest_VALIDATE, "", rpctypes.ErrGRPCWrongDowngradeVersionFormat},
		{pb.DowngradeRequest_ENABLE, "three", rpctypes.ErrGRPCWrongDowngradeVersionFormat},
		{pb.DowngradeRequest_CANCEL, "", rpctypes.ErrGRPCNoInflightDowngrade},
	} {
		if _, err := (&maintenanceService{}).Downgrade(t.Context(), &pb.DowngradeRequest{Action: row.action, Version: row.version}); !errors.Is(err, row.want) {
			t.Errorf("%v %q: %v, want %v", row.action, row.version, err, row.want)
		}
	}
}
