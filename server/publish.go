package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/balsadb/balsa/store"
)

// A member that could not publish itself tries again after the first of these, and then less and less often.
const publishPause, publishMaxPause = 20 * time.Millisecond, time.Second

// Publish tells the cluster this member's name and client URLs, where it does not know them yet. It returns once the
// member has joined: it knows a leader, and holds all that was committed. It tries for as long as ctx allows, and
// gives up only where the group is closed or fenced. From then on the gRPC health service says SERVING.
func (s *Server) Publish(ctx context.Context) error {
	for pause := publishPause; ; pause = min(2*pause, publishMaxPause) {
		err := s.publish(ctx)
		switch {
		case err == nil:
			s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
			return nil
		case ctx.Err() != nil || errors.Is(err, rpctypes.ErrGRPCStopped):
			return fmt.Errorf("publishing this member to the cluster: %w", err)
		}
		s.config.Logger.Warn("this member could not join the cluster yet, it tries again", "reason", rpctypes.ErrorDesc(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (s *Server) publish(ctx context.Context) error {
	if err := s.barrier(ctx); err != nil {
		return err
	}
	self := &pb.Member{ID: uint64(s.config.MemberID), Name: s.config.Name, ClientURLs: s.config.ClientURLs}
	for _, m := range s.store.Members() {
		if m.ID == self.ID && m.Name == self.Name && slices.Equal(m.ClientURLs, self.ClientURLs) {
			return nil
		}
	}
	_, err := execute(ctx, s, self, store.EncodeMember, store.DecodeCompaction)
	return err
}
