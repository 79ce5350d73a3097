package server

import (
	"context"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves in the clear on a free port until the test ends, and returns where.
func start(t testing.TB, config Config) (*Server, string) {
	t.Helper()
	return startAs(t, config, 1)
}

func startAs(t testing.TB, config Config, member raft.MemberID) (*Server, string) {
	t.Helper()
	config.MemberID, config.ClusterID, config.Name = member, 42, "one"
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t)
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

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// storeMember is a member whose group is a fake one, and whose store is real, in memory.
type storeMember struct {
	server  *Server
	store   *store.Store
	group   *fakeGroup
	address string
}

func startStore(t testing.TB) *storeMember {
	t.Helper()
	m := &storeMember{}
	m.store, m.group = newStore(t)
	m.server, m.address = start(t, Config{Group: m.group, Store: m.store})
	return m
}

// collect removes what compactions make superfluous, until the test ends.
func (m *storeMember) collect(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.store.RunCollector(ctx, store.CollectOptions{})
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// hold keeps the next proposal waiting: begun is closed when it is there, and closing proceed lets it be applied.
func (m *storeMember) hold() (begun, proceed chan struct{}) {
	begun, proceed = make(chan struct{}), make(chan struct{})
	apply := m.group.apply
	m.group.answer(func(entry raft.Entry) ([]byte, error) {
		close(begun)
		<-proceed
		m.group.apply = apply // the lock is held
		return apply(entry)
	})
	return begun, proceed
}

// newClient returns etcd's own client.
func newClient(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// dial returns a connection for the API's generated clients, which resend nothing.
func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
