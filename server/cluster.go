package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// clusterService is what is there so far of the etcd v3 Cluster service.
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

// members lists the configured members. One that has not published itself yet has, as in etcd, neither name nor client URLs.
func (s *Server) members() []*pb.Member {
	published := make(map[uint64]*pb.Member)
	for _, m := range s.store.Members() {
		published[m.ID] = m
	}
	members := make([]*pb.Member, 0, len(s.config.Members))
	for _, configured := range s.config.Members {
		m := proto.CloneOf(configured)
		m.Name, m.ClientURLs = "", nil
		if p := published[m.ID]; p != nil {
			m.Name, m.ClientURLs = p.Name, p.ClientURLs
		}
		members = append(members, m)
	}
	return members
}
