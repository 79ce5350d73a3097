package server

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/raft"
)

// clusterService is the etcd v3 Cluster service.
type clusterService struct {
	pb.UnimplementedClusterServer
	*Server
}

func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if err := s.readable(ctx, !r.Linearizable); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.identify(&pb.ResponseHeader{}), Members: s.members()}, nil
}

// members lists the members as this one has applied them. One that has not published itself yet has, as in etcd, neither name nor
// client URLs. One that was added and does not vote yet is listed as the learner that it is.
func (s *Server) members() []*pb.Member {
	settled := s.group.Settled()
	members := make([]*pb.Member, 0, len(settled.Seats))
	for i := range settled.Seats {
		if seat := &settled.Seats[i]; seat.Role != raft.Leaving {
			members = append(members, &pb.Member{ID: uint64(seat.ID), PeerURLs: s.peerURLs(seat), IsLearner: seat.Role == raft.Learner})
		}
	}
	if len(settled.Seats) == 0 { // a group that cannot tell
		for _, configured := range s.config.Members {
			members = append(members, proto.CloneOf(configured))
		}
	}
	for _, m := range members {
		m.Name, m.ClientURLs = s.published(m.ID)
	}
	return members
}

// peerURLs are those of a member's seat, or as it was configured.
func (s *Server) peerURLs(seat *raft.Seat) []string {
	if seat.Address != "" {
		return strings.Split(seat.Address, ",")
	}
	for _, configured := range s.config.Members {
		if configured.ID == uint64(seat.ID) {
			return configured.PeerURLs
		}
	}
	return nil
}

// published returns what a member has told about itself.
func (s *Server) published(id uint64) (name string, clientURLs []string) {
	for _, p := range s.store.Members() {
		if p.ID == id {
			return p.Name, p.ClientURLs
		}
	}
	return "", nil
}

// member returns a member, nil where there is none of that id.
func (s *Server) member(id uint64) *pb.Member {
	for _, m := range s.members() {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// isLearner reports whether this member does not vote.
func (s *Server) isLearner() bool {
	settled := s.group.Settled()
	seat := settled.Seat(s.config.MemberID)
	return seat != nil && seat.Role == raft.Learner
}
