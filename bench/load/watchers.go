package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// watchers are a scenario's watchers: some streams, each on a connection of its own, with as many watchers each.
type watchers struct {
	conns   []*grpc.ClientConn
	streams []grpc.ClientStream
	created atomic.Int64
	events  atomic.Int64
	heard   func(before, now int64) // is called as the number of events grows, from any stream
	failed  context.CancelCauseFunc
	group   sync.WaitGroup
}

// openWatchers makes a watcher for each key, and returns when all are there. They are dealt out to n streams, and those to
// the endpoints in turn. cancel is called with the reason where a stream ends.
func openWatchers(ctx context.Context, cancel context.CancelCauseFunc, endpoints []string, n int, keys [][]byte, heard func(before, now int64)) (*watchers, error) {
	w := &watchers{heard: heard, failed: cancel}
	all := make(chan struct{})
	for i := range n {
		conn, err := servers.Dial(endpoints[i%len(endpoints)])
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.conns = append(w.conns, conn)
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			"/etcdserverpb.Watch/Watch", grpc.ForceCodecV2(countingCodec{}))
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.streams = append(w.streams, stream)
		w.group.Go(func() { w.receive(ctx, stream, int64(len(keys)), all) })
	}
	for i := range w.streams {
		w.group.Go(func() {
			for at := i; at < len(keys); at += n {
				create := &pb.WatchCreateRequest{Key: keys[at]}
				if err := w.streams[i].SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
					return // receive learns why
				}
			}
		})
	}
	select {
	case <-all:
		return w, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), w.close())
	}
}

func (w *watchers) receive(ctx context.Context, stream grpc.ClientStream, want int64, all chan<- struct{}) {
	for {
		var r countedResponse
		if err := stream.RecvMsg(&r); err != nil {
			if ctx.Err() == nil {
				w.failed(fmt.Errorf("a watch stream ended: %w", err))
			}
			return
		}
		if r.canceled {
			w.failed(errors.New("a watcher was canceled"))
			return
		}
		if r.created && w.created.Add(1) == want {
			close(all)
		}
		if r.events > 0 {
			now := w.events.Add(r.events)
			w.heard(now-r.events, now)
		}
	}
}

// close ends all streams, and returns when nothing is received any more.
func (w *watchers) close() error {
	var errs []error
	for _, conn := range w.conns {
		errs = append(errs, conn.Close())
	}
	w.group.Wait()
	return errors.Join(errs...)
}

// countedResponse is what the load needs to know of a pb.WatchResponse.
type countedResponse struct {
	created, canceled bool
	events            int64
}

// countingCodec counts the events in responses, and does not decode them: the processors belong to the servers.
type countingCodec struct{}

// Name is that of the codec of protobuf, which it is on the wire.
func (countingCodec) Name() string { return "proto" }

func (countingCodec) Marshal(v any) (mem.BufferSlice, error) {
	encoded, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(encoded)}, err
}

func (countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return v.(*countedResponse).read(buffer.ReadOnlyData())
}

// Numbers of fields of pb.WatchResponse.
const (
	createdField  = 3
	canceledField = 4
	eventsField   = 11
)

func (r *countedResponse) read(encoded []byte) error {
	*r = countedResponse{}
	for len(encoded) > 0 {
		field, kind, n := protowire.ConsumeTag(encoded)
		if n < 0 {
			return protowire.ParseError(n)
		}
		encoded = encoded[n:]
		if n = protowire.ConsumeFieldValue(field, kind, encoded); n < 0 {
			return protowire.ParseError(n)
		}
		encoded = encoded[n:]
		switch field {
		case createdField:
			r.created = true
		case canceledField:
			r.canceled = true
		case eventsField:
			r.events++
		}
	}
	return nil
}
