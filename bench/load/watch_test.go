package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

func TestResponsesAreCounted(t *testing.T) {
	event := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: []byte("v")}, PrevKv: &mvccpb.KeyValue{Key: []byte("k")}}
	for _, test := range []struct {
		response *pb.WatchResponse
		want     countedResponse
	}{
		{&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 3}, WatchId: 7, Created: true}, countedResponse{created: true}},
		{&pb.WatchResponse{WatchId: 7, Canceled: true, CompactRevision: 3}, countedResponse{canceled: true}},
		{&pb.WatchResponse{Header: &pb.ResponseHeader{MemberId: 1}, Fragment: true, Events: []*mvccpb.Event{event, event, event}}, countedResponse{events: 3}},
	} {
		encoded, err := proto.Marshal(test.response)
		if err != nil {
			t.Fatal(err)
		}
		var got countedResponse
		half := len(encoded) / 2 // a message comes in pieces
		if err := (countingCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(encoded[:half]), mem.SliceBuffer(encoded[half:])}, &got); err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%v was counted as %+v", test.response, got)
		}
	}
	if err := (&countedResponse{}).read([]byte{0x5a, 0xff}); err == nil {
		t.Error("half a response was counted")
	}
}

// TestPutsWaitForWatchers: no more are begun than may be ahead, until events arrive.
func TestPutsWaitForWatchers(t *testing.T) {
	told := newTold(&watchLoad{watchers: 30, keys: 3, perTxn: 2, ahead: 2})
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := told.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := told.wait(soon); err == nil {
		t.Fatal("a third put was begun before anything has arrived")
	}
	told.heard(0, 19) // a request makes twenty
	if err := told.wait(soon); err == nil {
		t.Fatal("a third put was begun before all of the first has arrived")
	}
	told.heard(19, 20)
	if err := told.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEventsTooManyAreNoticed(t *testing.T) {
	l := &watchLoad{watchers: 1, keys: 1, perTxn: 1}
	w := &watchers{}
	w.events.Add(3)
	if err := newTold(l).await(t.Context(), w, 2); err == nil {
		t.Error("three events were taken for two")
	}
	if err := newTold(l).await(t.Context(), w, 3); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := newTold(l).await(ctx, w, 4); err == nil {
		t.Error("three events were taken for four")
	}
}

// TestWatchersAndLeasesOfBalsa runs what is measured of watchers and leases, briefly: everything that is put arrives, and
// once.
func TestWatchersAndLeasesOfBalsa(t *testing.T) {
	s, err := parse(strings.Fields("-run watch-one,watch-one-rate,watch-many,watch-many-rate,watch-crowd,leases,leases-rate -servers balsa -rounds 1 -seconds 0.2 -crowd 2000 -leases 200"))
	if err != nil {
		t.Fatal(err)
	}
	if s.binaries[servers.Balsa], err = servers.Build(t.Context(), servers.Balsa); err != nil {
		t.Fatal(err)
	}
	for _, sc := range s.scenarios {
		t.Run(sc.name, func(t *testing.T) {
			r, err := s.runOnce(t.Context(), sc, servers.Balsa, "")
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(r) == "" {
				t.Error("there are no figures")
			}
		})
	}
}
