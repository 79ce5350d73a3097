package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// fakeGroup answers proposals by a function, or at once.
type fakeGroup struct {
	mu         sync.Mutex
	apply      func(entry raft.Entry) ([]byte, error)
	read       func() error
	leadership atomic.Pointer[raft.Leadership]
	applied    atomic.Uint64
	ready      chan struct{}
	proposals  atomic.Int64
	reads      atomic.Int64
}

func newFakeGroup(apply func(raft.Entry) ([]byte, error)) *fakeGroup {
	g := &fakeGroup{apply: apply, ready: make(chan struct{})}
	g.leadership.Store(&raft.Leadership{Role: raft.Leader, Term: 3, Leader: 1})
	close(g.ready)
	return g
}

func (g *fakeGroup) ProposeEntry(entry raft.Entry, _ time.Duration, done func(balsa.Result, error)) {
	g.proposals.Add(1)
	go func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		value, err := g.apply(entry)
		if err != nil {
			done(balsa.Result{}, err)
			return
		}
		done(balsa.Result{Index: raft.Index(g.applied.Add(1)), Term: 3, Value: value}, nil)
	}()
}

func (g *fakeGroup) ReadAsync(done func(raft.Index, error)) {
	g.reads.Add(1)
	g.mu.Lock()
	read := g.read
	g.mu.Unlock()
	if read != nil {
		done(0, read())
		return
	}
	done(g.Counters().Applied, nil)
}

func (g *fakeGroup) Leadership() raft.Leadership { return *g.leadership.Load() }
func (g *fakeGroup) Counters() balsa.Counters {
	applied := raft.Index(g.applied.Load())
	return balsa.Counters{Applied: applied, Committed: applied}
}
func (g *fakeGroup) Ready() <-chan struct{} { return g.ready }

// fakeStore is a map.
type fakeStore struct {
	mu       sync.Mutex
	kvs      map[string]*mvccpb.KeyValue
	revision atomic.Int64
}

func newFakeStore() *fakeStore {
	s := &fakeStore{kvs: make(map[string]*mvccpb.KeyValue)}
	s.revision.Store(1)
	return s
}

func (s *fakeStore) apply(entry raft.Entry) ([]byte, error) {
	r := &pb.PutRequest{}
	if err := proto.Unmarshal(entry.Payload(), r); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := s.revision.Add(1)
	s.kvs[string(r.Key)] = &mvccpb.KeyValue{Key: r.Key, Value: r.Value, ModRevision: revision, CreateRevision: revision, Version: 1}
	return proto.Marshal(&pb.PutResponse{Header: &pb.ResponseHeader{Revision: revision}})
}

func (s *fakeStore) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	response := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: s.revision.Load()}}
	if kv := s.kvs[string(r.Key)]; kv != nil {
		response.Kvs, response.Count = []*mvccpb.KeyValue{kv}, 1
	}
	return response, nil
}

func (s *fakeStore) RangeStream(ctx context.Context, r *pb.RangeRequest, send func(*pb.RangeResponse) error) error {
	response, err := s.Range(ctx, r)
	if err != nil {
		return err
	}
	return send(response)
}

func (s *fakeStore) ReadTxn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) {
	return &pb.TxnResponse{Succeeded: true}, nil
}
func (s *fakeStore) Hash(context.Context) (*pb.HashResponse, error) { return &pb.HashResponse{}, nil }
func (s *fakeStore) HashKV(context.Context, int64) (*pb.HashKVResponse, error) {
	return &pb.HashKVResponse{}, nil
}
func (s *fakeStore) Revision() int64       { return s.revision.Load() }
func (s *fakeStore) Sizes() (int64, int64) { return 0, 0 }
func (s *fakeStore) Members() []*pb.Member { return nil }
