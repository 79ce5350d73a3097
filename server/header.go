package server

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// header completes a response's header: who answered, and in which term. The revision is the store's, taken
// together with what the response holds; where the response has none it is the current one.
func (s *Server) header(h *pb.ResponseHeader) *pb.ResponseHeader {
	if h == nil {
		h = &pb.ResponseHeader{}
	}
	if h.Revision == 0 {
		h.Revision = s.store.Revision()
	}
	return s.identify(h)
}

// identify sets all of a header but its revision.
func (s *Server) identify(h *pb.ResponseHeader) *pb.ResponseHeader {
	h.ClusterId = s.config.ClusterID
	h.MemberId = uint64(s.config.MemberID)
	h.RaftTerm = uint64(s.group.Leadership().Term)
	return h
}
