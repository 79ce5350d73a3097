package server

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errStreamSort    = status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	errStreamFilters = status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
)

// RangeStream sends a range in parts. Only the last one has a header, the count, and whether there is more.
func (s *kvService) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	if err := s.readable(stream.Context(), r.Serializable); err != nil {
		return err
	}
	return apiError(s.store.RangeChunks(stream.Context(), r, func(part *pb.RangeResponse) error {
		if part.Header != nil {
			part.Header = s.header(part.Header)
		}
		return stream.Send(&pb.RangeStreamResponse{RangeResponse: part})
	}))
}

// checkRangeStream refuses what cannot be answered in the order of keys as they are found.
func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	sorted := r.SortOrder != pb.RangeRequest_NONE && (r.SortOrder != pb.RangeRequest_ASCEND || r.SortTarget != pb.RangeRequest_KEY)
	if sorted {
		return errStreamSort
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return errStreamFilters
	}
	return nil
}
