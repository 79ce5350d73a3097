package server

import (
	"context"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// start serves on a free port and returns its address.
func start(t testing.TB, config Config) (*Server, string) {
	t.Helper()
	config.MemberID, config.ClusterID, config.Name = 1, 42, "one"
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener, nil) }()
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, listener.Addr().String()
}

func newClient(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestPutAndGet(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs})
	client := newClient(t, address)
	put, err := client.Put(t.Context(), "k", "v")
	if err != nil {
		t.Fatal(err)
	}
	if h := put.Header; h.ClusterId != 42 || h.MemberId != 1 || h.RaftTerm != 3 || h.Revision != 2 {
		t.Errorf("header of a put: %v", h)
	}
	get, err := client.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if len(get.Kvs) != 1 || string(get.Kvs[0].Value) != "v" {
		t.Errorf("got %v", get)
	}
}
