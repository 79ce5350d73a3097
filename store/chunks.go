package store

import (
	"bytes"
	"context"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// defaultChunkBytes is the size of keys and values after which a chunk ends.
const defaultChunkBytes = 512 << 10

// RangeChunks answers a range request in pieces of bounded size, all as of one revision. Header, more and count are
// in the last one only. Nothing of the engine is held while send runs, so a slow receiver costs no memory; where a
// compaction passes the revision meanwhile, the error is ErrGRPCCompacted and what was sent is a part.
func (s *Store) RangeChunks(ctx context.Context, r *pb.RangeRequest, send func(*pb.RangeResponse) error) error {
	switch {
	case !validSort(r) || !IsDefaultOrder(r):
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case HasRevisionFilters(r):
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	if r.CountOnly {
		response, err := s.Range(ctx, r)
		if err != nil {
			return err
		}
		return send(response)
	}
	now := s.state.Load()
	rev, err := now.moment().readAt(r.Revision)
	if err != nil {
		return err
	}
	c := chunker{request: r, in: newInterval(r.Key, r.RangeEnd), header: now.revision, left: r.Limit, bytes: s.chunkBytes}
	if c.left <= 0 {
		c.left = math.MaxInt64
	}
	for !c.done {
		var response *pb.RangeResponse
		err := s.read(rev, func(v *view, _ moment) (err error) {
			response, err = c.next(ctx, v, rev)
			return err
		})
		if err != nil {
			return err
		}
		if err := send(response); err != nil {
			return err
		}
	}
	return nil
}

// chunker makes the chunks of one range.
type chunker struct {
	request *pb.RangeRequest
	in      interval // what is still to come
	bytes   int64    // see defaultChunkBytes
	header  int64
	left    int64 // how many keys the limit still allows
	count   int64 // of those that were sent
	done    bool
}

// next returns the next chunk.
func (c *chunker) next(ctx context.Context, v *view, rev int64) (*pb.RangeResponse, error) {
	s := selection{request: c.request}
	var size int64
	var more bool
	err := v.scan(ctx, c.in, rev, func(f *found) (bool, error) {
		if more = int64(len(s.kept)) == c.left || size >= c.bytes; more {
			return false, nil
		}
		size += int64(len(f.key))
		if !c.request.KeysOnly {
			size += f.valueSize
		}
		f.key = bytes.Clone(f.key)
		s.kept = append(s.kept, *f)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if !c.request.KeysOnly {
		if err := v.loadAll(ctx, s.kept); err != nil {
			return nil, err
		}
	}
	if more {
		c.in.start = append(bytes.Clone(s.kept[len(s.kept)-1].key), 0)
	}
	c.count += int64(len(s.kept))
	c.left -= int64(len(s.kept))
	response := &pb.RangeResponse{Kvs: s.keyValues()}
	if c.done = !more || c.left == 0; !c.done {
		return response, nil
	}
	response.Header = &pb.ResponseHeader{Revision: c.header}
	response.More = more
	response.Count = c.count
	if more {
		rest, err := v.count(ctx, c.in, rev)
		if err != nil {
			return nil, err
		}
		response.Count += rest
	}
	return response, nil
}
