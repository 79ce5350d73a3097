package server

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

var services = []*grpc.ServiceDesc{
	&pb.KV_ServiceDesc, &pb.Maintenance_ServiceDesc, &pb.Cluster_ServiceDesc,
	&pb.Watch_ServiceDesc, &pb.Lease_ServiceDesc, &pb.Auth_ServiceDesc,
	lockDesc(&lockService{}), electionDesc(&electionService{}),
}

// invoke calls a method with an empty message, which every request of the API can be decoded from.
func invoke(ctx context.Context, conn *grpc.ClientConn, fullMethod string, stream bool) error {
	if !stream {
		return conn.Invoke(ctx, fullMethod, &emptypb.Empty{}, &emptypb.Empty{})
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, fullMethod)
	if err != nil {
		return err
	}
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && err != io.EOF {
		return err
	}
	s.CloseSend()
	return s.RecvMsg(&emptypb.Empty{})
}

// Every method of the API either answers or says that it, by name, is not there yet.
func TestEveryMethodOfTheAPIIsKnown(t *testing.T) {
	member := startStore(t)
	conn := dial(t, member.address)
	for _, service := range services {
		streams := make(map[string]bool)
		for _, m := range service.Methods {
			streams[m.MethodName] = false
		}
		for _, m := range service.Streams {
			streams[m.StreamName] = true
		}
		for method, stream := range streams {
			if slices.Contains([]string{"Watch", "Lock", "Campaign", "Observe"}, method) {
				continue // an empty request is not answered, or holds up the next: they have tests of their own
			}
			err := invoke(t.Context(), conn, fmt.Sprintf("/%s/%s", service.ServiceName, method), stream)
			if slices.Contains(available[service.ServiceName], method) {
				if status.Code(err) == codes.Unimplemented {
					t.Errorf("%s/%s: %v", service.ServiceName, method, err)
				}
				continue
			}
			wantStatus(t, method, err, status.Errorf(codes.Unimplemented, "balsa: %s/%s is not available yet", service.ServiceName, method))
		}
	}
	for name, methods := range available {
		i := slices.IndexFunc(services, func(s *grpc.ServiceDesc) bool { return s.ServiceName == name })
		for _, method := range methods {
			if !slices.ContainsFunc(services[i].Methods, func(m grpc.MethodDesc) bool { return m.MethodName == method }) &&
				!slices.ContainsFunc(services[i].Streams, func(m grpc.StreamDesc) bool { return m.StreamName == method }) {
				t.Errorf("%s/%s is not in the API", name, method)
			}
		}
	}
	wantStatus(t, "unknown method", invoke(t.Context(), conn, "/etcdserverpb.KV/Nope", false),
		status.Error(codes.Unimplemented, "unknown method Nope for service etcdserverpb.KV"))
}

func TestMaintenance(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs})
	client := newClient(t, address)
	if _, err := client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s, err := client.Status(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "status", s.Header, nil, 2)
	if s.Version != "3.7.3" || s.StorageVersion != "3.7.0" || s.Leader != 1 || s.RaftTerm != 3 || s.RaftIndex != 1 || s.RaftAppliedIndex != 1 ||
		s.DbSize == 0 || s.DbSizeInUse != s.DbSize || s.DbSizeQuota != 0 || s.IsLearner || len(s.Errors) != 0 || s.DowngradeInfo == nil {
		t.Errorf("status %v", s)
	}
	group.leadership.Store(&raft.Leadership{Term: 4})
	if s, err = client.Status(t.Context(), address); err != nil || !slices.Equal(s.Errors, []string{"etcdserver: no leader"}) {
		t.Errorf("status without a leader: %v, %v", s, err)
	}
	group.leadership.Store(&raft.Leadership{Role: raft.Leader, Term: 3, Leader: 1})

	reads := group.reads.Load()
	alarms, err := client.AlarmList(t.Context())
	if err != nil || len(alarms.Alarms) != 0 || alarms.Header.MemberId != 1 {
		t.Errorf("alarms %v, %v", alarms, err)
	}
	if group.reads.Load() == reads {
		t.Error("the list of alarms may be stale")
	}
	hash, err := pb.NewMaintenanceClient(dial(t, address)).Hash(t.Context(), &pb.HashRequest{})
	wantHeader(t, "hash", hash.GetHeader(), err, 2)
	hashKV, err := client.HashKV(t.Context(), address, 0)
	wantHeader(t, "hash of keys", hashKV.Header, err, 2)
	if hashKV.Hash == 0 || hashKV.HashRevision != 2 || hashKV.CompactRevision != -1 {
		t.Errorf("hash of keys %v", hashKV)
	}
	_, err = client.HashKV(t.Context(), address, 3)
	wantError(t, "hash of the future", err, rpctypes.ErrFutureRev)
}

func TestMembersPublishThemselves(t *testing.T) {
	kvs, group := newStore(t)
	s, address := start(t, Config{Group: group, Store: kvs, ClientURLs: []string{"http://one"}, Members: []*pb.Member{
		{ID: 1, Name: "one", PeerURLs: []string{"http://peer-one"}}, {ID: 2, Name: "two", PeerURLs: []string{"http://peer-two"}},
	}})
	client, conn := newClient(t, address), dial(t, address)
	wantHealth(t, conn, healthpb.HealthCheckResponse_NOT_SERVING)
	group.answer(refuseOnce(group.apply, balsa.ErrOverloaded))
	for range 2 { // once known, it is not proposed again
		if err := s.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := group.proposals.Load(); n != 2 {
		t.Errorf("proposed %d times", n)
	}
	wantHealth(t, conn, healthpb.HealthCheckResponse_SERVING)
	members, err := client.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `[ID:1 name:"one" peerURLs:"http://peer-one" clientURLs:"http://one" ID:2 peerURLs:"http://peer-two"]`
	if got := strings.ReplaceAll(fmt.Sprint(members.Members), "  ", " "); got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	if members.Header.Revision != 0 || members.Header.MemberId != 1 {
		t.Errorf("header %v", members.Header)
	}
	group.answer(func(raft.Entry) ([]byte, error) { return nil, balsa.ErrClosed })
	s.config.ClientURLs = []string{"http://elsewhere"}
	wantError(t, "publishing to a closed group", s.Publish(t.Context()), rpctypes.ErrGRPCStopped)
}

func refuseOnce(apply func(raft.Entry) ([]byte, error), err error) func(raft.Entry) ([]byte, error) {
	refused := false
	return func(entry raft.Entry) ([]byte, error) {
		if !refused {
			refused = true
			return nil, err
		}
		return apply(entry)
	}
}

func wantHealth(t *testing.T, conn *grpc.ClientConn, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	response, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || response.Status != want {
		t.Errorf("health: %v, %v, want %v", response, err, want)
	}
}

func TestReflectionNamesTheServices(t *testing.T) {
	stream, err := reflectionpb.NewServerReflectionClient(dial(t, startStore(t).address)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		if !strings.Contains(response.String(), service.ServiceName) {
			t.Errorf("%s is not in %v", service.ServiceName, response)
		}
	}
}

func TestRequireLeader(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, LeaderTimeout: 30 * time.Millisecond})
	kv := pb.NewKVClient(dial(t, address))
	put := func(md ...string) error {
		_, err := kv.Put(metadata.NewOutgoingContext(t.Context(), metadata.Pairs(md...)), &pb.PutRequest{Key: []byte("k")})
		return err
	}
	if err := put("hasleader", "true"); err != nil {
		t.Errorf("with a leader: %v", err)
	}
	group.leadership.Store(&raft.Leadership{Term: 4})
	proposals := group.proposals.Load()
	wantStatus(t, "without a leader", put("hasleader", "true"), rpctypes.ErrGRPCNoLeader)
	if n := group.proposals.Load() - proposals; n != 0 {
		t.Errorf("proposed %d times", n)
	}
	for _, md := range [][]string{{"hasleader", "false"}, {"client-api-version", "3.7"}} {
		if err := put(md...); err != nil {
			t.Errorf("without a leader, %v: %v", md, err)
		}
	}
	stream, err := kv.RangeStream(clientv3.WithRequireLeader(t.Context()), &pb.RangeRequest{Key: []byte("k")})
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, "stream without a leader", err, rpctypes.ErrGRPCNoLeader)
}

// Who needs a leader and comes between two of them, as a client does whose member, the leader, was killed, waits for the next one.
func TestRequireLeaderBetweenTwo(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, LeaderTimeout: time.Hour})
	connection := dial(t, address)
	leader := group.Leadership()
	for name, ask := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error {
			_, err := pb.NewKVClient(connection).Put(ctx, &pb.PutRequest{Key: []byte("k")})
			return err
		},
		"watch": func(ctx context.Context) error {
			stream, err := pb.NewWatchClient(connection).Watch(ctx)
			if err == nil {
				err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
					CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")},
				}})
			}
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	} {
		group.leadership.Store(&raft.Leadership{Term: 4})
		answered := make(chan error, 1)
		go func() { answered <- ask(clientv3.WithRequireLeader(t.Context())) }()
		for before := group.looked.Load(); group.looked.Load() < before+4 && len(answered) == 0; { // it has looked again
			runtime.Gosched()
		}
		group.leadership.Store(&leader)
		if err := <-answered; err != nil {
			t.Errorf("%s between two leaders: %v", name, err)
		}
	}
}

// What is over the bound is refused at once, and what was refused does not count.
func TestE22TooManyRequestsAreRefused(t *testing.T) {
	kvs, group := newStore(t)
	s, address := start(t, Config{Group: group, Store: kvs, Limits: Limits{Requests: 1}})
	member := &storeMember{server: s, store: kvs, group: group, address: address}
	kv := pb.NewKVClient(dial(t, address))
	begun, proceed := member.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		answered <- err
	}()
	<-begun
	for range 3 {
		_, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
		wantStatus(t, "a second request", err, rpctypes.ErrGRPCRequestTooManyRequests)
	}
	if n := group.proposals.Load(); n != 1 {
		t.Errorf("proposed %d times", n)
	}
	close(proceed)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// A bug in a handler costs its request, not the member.
func TestPanicEndsOneRequest(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: panickingStore{Store: kvs}})
	kv := pb.NewKVClient(dial(t, address))
	for range 3 {
		_, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
		wantStatus(t, "range", err, status.Error(codes.Internal, "balsa: internal error in /etcdserverpb.KV/Range, see the member's log"))
		stream, err := kv.RangeStream(t.Context(), &pb.RangeRequest{Key: []byte("k")})
		if err == nil {
			_, err = stream.Recv()
		}
		wantStatus(t, "range stream", err, status.Error(codes.Internal, "balsa: internal error in /etcdserverpb.KV/RangeStream, see the member's log"))
	}
	if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Error(err)
	}
}

type panickingStore struct{ Store }

func (panickingStore) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	panic("a bug")
}

func (panickingStore) RangeChunks(context.Context, *pb.RangeRequest, func(*pb.RangeResponse) error) error {
	panic("a bug")
}
