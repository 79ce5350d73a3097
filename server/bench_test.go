package server

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// nullGroup answers every proposal at once, in batches from one goroutine, like an applier does.
type nullGroup struct {
	*fakeGroup
	waiting chan func(balsa.Result, error)
	value   []byte
}

func newNullGroup(b *testing.B) *nullGroup {
	response, err := proto.Marshal(&pb.PutResponse{Header: &pb.ResponseHeader{Revision: 1 << 20}})
	if err != nil {
		b.Fatal(err)
	}
	value := append([]byte{0}, response...)
	g := &nullGroup{fakeGroup: newFakeGroup(nil), waiting: make(chan func(balsa.Result, error), 4096), value: value}
	go func() {
		for done := range g.waiting {
			done(balsa.Result{Index: 1, Term: 3, Value: g.value}, nil)
		}
	}()
	b.Cleanup(func() { close(g.waiting) })
	return g
}

func (g *nullGroup) ProposeEntry(_ raft.Entry, _ time.Duration, done func(balsa.Result, error)) {
	g.waiting <- done
}

// BenchmarkPut measures the way through gRPC and back: 100 clients on 10 connections, 256 B, nothing behind it.
func BenchmarkPut(b *testing.B) {
	kvs, _ := newStore(b)
	_, address := start(b, Config{Group: newNullGroup(b), Store: kvs})
	var clients []pb.KVClient
	for range 10 {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, pb.NewKVClient(conn))
	}
	request := &pb.PutRequest{Key: make([]byte, 16), Value: make([]byte, 256)}
	request.Key[0] = 'k'
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := clients[i%len(clients)].Put(b.Context(), request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
