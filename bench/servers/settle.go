package servers

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// AwaitApplied waits until every running member has applied everything that any of them has in its log.
func (s *Servers) AwaitApplied(ctx context.Context) error { return s.AwaitStatus(ctx, applied) }

// AwaitStatus waits until what the members say of themselves is as wished. A member that is down says nothing (nil).
func (s *Servers) AwaitStatus(ctx context.Context, wished func([]*pb.StatusResponse) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		all := s.statuses(ctx)
		if wished(all) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the members of %s do not get where they should be: %w; they said %v", s.Kind, err, all)
		}
	}
}

func applied(all []*pb.StatusResponse) bool {
	var first *pb.StatusResponse
	for _, status := range all {
		if status == nil {
			continue
		}
		if first == nil {
			first = status
		}
		if status.RaftAppliedIndex != status.RaftIndex || status.RaftIndex != first.RaftIndex || status.Header.Revision != first.Header.Revision {
			return false
		}
	}
	return first != nil
}

// Agree returns an error unless all running members have the same keys: the same HashKV at the same revision.
func (s *Servers) Agree(ctx context.Context) error {
	var first *pb.HashKVResponse
	for i, m := range s.Members {
		if !m.Running() {
			continue
		}
		hash, err := pb.NewMaintenanceClient(s.conns[i]).HashKV(ctx, &pb.HashKVRequest{})
		if err != nil {
			return fmt.Errorf("HashKV of %s %s: %w", s.Kind, m.Name, err)
		}
		if first == nil {
			first = hash
		}
		if hash.Hash != first.Hash || hash.HashRevision != first.HashRevision {
			return fmt.Errorf("the members of %s differ: %s says hash %d at revision %d, the first says %d at %d",
				s.Kind, m.Name, hash.Hash, hash.HashRevision, first.Hash, first.HashRevision)
		}
	}
	return nil
}
