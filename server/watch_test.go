package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// rawWatch is a watch stream without a client that smooths things over.
type rawWatch struct {
	t      *testing.T
	stream pb.Watch_WatchClient
}

func watchRaw(t *testing.T, address string) *rawWatch {
	t.Helper()
	return watchRawWith(t, t.Context(), address)
}

func watchRawWith(t *testing.T, ctx context.Context, address string) *rawWatch {
	t.Helper()
	stream, err := pb.NewWatchClient(dial(t, address)).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &rawWatch{t, stream}
}

func (w *rawWatch) ask(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *rawWatch) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *rawWatch) cancel(id int64) {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *rawWatch) progress() {
	w.t.Helper()
	w.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// want receives the next response, and compares it: revision, then what the fields say.
func (w *rawWatch) want(revision int64, want string) {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("want %s: %v", want, err)
	}
	if h := r.Header; h.ClusterId != 42 || h.MemberId != 1 || h.RaftTerm != 3 || h.Revision != revision {
		w.t.Fatalf("header %v, want revision %d", h, revision)
	}
	if got := summary(r); got != want {
		w.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func (w *rawWatch) wantEnd(want error) {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err == nil {
		w.t.Fatalf("got %v, want the end: %v", r, want)
	}
	wantStatus(w.t, "end of the stream", err, want)
}

// summary writes a response in short: watcher, what it says, events with create revision, mod revision and version.
func summary(r *pb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.WatchId)
	if r.Created {
		b.WriteString(" created")
	}
	if r.Canceled {
		b.WriteString(" canceled")
	}
	if r.CompactRevision != 0 {
		fmt.Fprintf(&b, " compacted %d", r.CompactRevision)
	}
	if r.CancelReason != "" {
		fmt.Fprintf(&b, " (%s)", r.CancelReason)
	}
	if r.Fragment {
		b.WriteString(" fragment")
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, " %v %s=%.8s %d.%d.%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.CreateRevision, e.Kv.ModRevision, e.Kv.Version)
		if p := e.PrevKv; p != nil {
			fmt.Fprintf(&b, " was %.8s@%d", p.Value, p.ModRevision)
		}
	}
	return b.String()
}

func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// TestWatchAnswersLikeEtcd is a conversation whose answers were observed at a running etcd 3.7.3.
func TestWatchAnswersLikeEtcd(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	w := watchRaw(t, member.address)

	w.progress() // not answered: nobody watches
	w.ask(&pb.WatchRequest{})
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.want(1, "0: created")
	w.progress()
	w.want(1, "-1:")
	put(t, client, "a", "1")
	w.want(2, "0: PUT a=1 2.2.1")
	w.cancel(0)
	w.want(2, "0: canceled")
	w.cancel(0)  // not answered
	w.cancel(99) // nor is this

	w.create(&pb.WatchCreateRequest{Key: []byte("c"), RangeEnd: []byte("b")})
	w.want(2, "-1: created canceled (mvcc: watcher range is empty)")
	w.create(&pb.WatchCreateRequest{Key: []byte("c"), RangeEnd: []byte("c")})
	w.want(2, "-1: created canceled (mvcc: watcher range is empty)")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1})
	w.want(2, "-1: created canceled (etcdserver: mvcc: required revision has been compacted)")

	w.create(&pb.WatchCreateRequest{Key: []byte("x"), WatchId: 2})
	w.want(2, "2: created")
	w.create(&pb.WatchCreateRequest{Key: []byte("y"), WatchId: 2})
	w.want(2, "-1: created canceled (mvcc: duplicate watch ID provided on the WatchStream)")
	w.create(&pb.WatchCreateRequest{Key: []byte("y"), WatchId: -5})
	w.want(2, "-5: created")
	w.create(&pb.WatchCreateRequest{}) // of the least key
	w.want(2, "1: created")
	w.create(&pb.WatchCreateRequest{RangeEnd: []byte{0}, PrevKv: true}) // of all keys; 2 is taken
	w.want(2, "3: created")
	put(t, client, "b", "1")
	w.want(3, "3: PUT b=1 3.3.1")
	if _, err := client.Txn(t.Context()).Then(clientv3.OpPut("a", "2"), clientv3.OpDelete("b")).Commit(); err != nil {
		t.Fatal(err)
	}
	w.want(4, "3: PUT a=2 2.4.2 was 1@2 DELETE b= 0.4.0 was 1@3")
	w.cancel(3)
	w.want(4, "3: canceled")

	all := []byte{0}
	w.create(&pb.WatchCreateRequest{Key: all, RangeEnd: all, StartRevision: 1, PrevKv: true})
	w.want(4, "4: created")
	w.want(4, "4: PUT a=1 2.2.1 PUT b=1 3.3.1 PUT a=2 2.4.2 was 1@2 DELETE b= 0.4.0 was 1@3")
	w.cancel(4)
	w.want(4, "4: canceled")
	w.create(&pb.WatchCreateRequest{Key: all, RangeEnd: all, StartRevision: 3, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	w.want(4, "5: created")
	w.want(4, "5: DELETE b= 0.4.0")
	w.cancel(5)
	w.want(4, "5: canceled")
	w.create(&pb.WatchCreateRequest{Key: []byte("f"), StartRevision: 7})
	w.want(4, "6: created")
	w.progress()                                                              // not answered: a client would believe that it may begin at 5
	w.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}) // that was looked at before this is
	w.want(4, "-1: created canceled (mvcc: watcher range is empty)")
	for i := range 3 {
		put(t, client, "f", fmt.Sprint(i))
	}
	w.want(7, "6: PUT f=2 5.7.3")
	w.progress()
	w.want(7, "-1:")

	if _, err := client.Compact(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("f"), StartRevision: 5, WatchId: 9})
	w.want(7, "9: created")
	w.want(0, "9: canceled compacted 6")
	w.create(&pb.WatchCreateRequest{Key: []byte("f"), WatchId: 9})
	w.want(7, "-1: created canceled (mvcc: duplicate watch ID provided on the WatchStream)")
	w.cancel(9)
	w.want(7, "9: canceled")
	w.create(&pb.WatchCreateRequest{Key: []byte("f"), StartRevision: 6, PrevKv: true, WatchId: 9})
	w.want(7, "9: created")
	w.want(7, "9: PUT f=1 5.6.2 PUT f=2 5.7.3 was 1@6")
	if err := w.stream.CloseSend(); err != nil { // it goes on being told
		t.Fatal(err)
	}
	put(t, client, "f", "3")
	w.want(8, "6: PUT f=3 5.8.4")
	w.want(8, "9: PUT f=3 5.8.4 was 2@7")
}

// TestWatchFragments divides a response where the client wants that, and nowhere else.
func TestWatchFragments(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, Limits: Limits{RequestBytes: 10 << 10}})
	client := newClient(t, address)
	w := watchRaw(t, address)
	w.create(&pb.WatchCreateRequest{Key: []byte("g"), RangeEnd: []byte("h"), Fragment: true, PrevKv: true, WatchId: 1})
	w.want(1, "1: created")
	w.create(&pb.WatchCreateRequest{Key: []byte("g"), RangeEnd: []byte("h"), PrevKv: true, WatchId: 2})
	w.want(1, "2: created")
	value := strings.Repeat("x", 4<<10)
	for i := range 3 {
		put(t, client, fmt.Sprint("g", i), value)
		w.want(int64(i+2), fmt.Sprintf("1: PUT g%d=xxxxxxxx %d.%d.1", i, i+2, i+2))
		w.want(int64(i+2), fmt.Sprintf("2: PUT g%d=xxxxxxxx %d.%d.1", i, i+2, i+2))
	}
	if _, err := client.Delete(t.Context(), "g", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	w.want(5, "1: fragment DELETE g0= 0.5.0 was xxxxxxxx@2 DELETE g1= 0.5.0 was xxxxxxxx@3")
	w.want(5, "1: DELETE g2= 0.5.0 was xxxxxxxx@4")
	w.want(5, "2: DELETE g0= 0.5.0 was xxxxxxxx@2 DELETE g1= 0.5.0 was xxxxxxxx@3 DELETE g2= 0.5.0 was xxxxxxxx@4")
}

// TestWatchProgressNotify tells those who asked for it, and were told nothing else meanwhile.
func TestWatchProgressNotify(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, WatchProgressInterval: 20 * time.Millisecond})
	client := newClient(t, address)
	w := watchRaw(t, address)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	w.want(1, "0: created")
	w.want(1, "1: created")
	w.want(1, "0:")
	w.want(1, "0:")
	put(t, client, "other", "")
	for revision := int64(1); revision < 2; {
		r, err := w.stream.Recv()
		if err != nil || summary(r) != "0:" || r.Header.Revision < revision {
			t.Fatal(r, err)
		}
		revision = r.Header.Revision
	}
}

// discard is a stream whose client is told nothing.
type discard struct{ watchServer }

func (discard) Send(*pb.WatchResponse) error { return nil }
func (discard) SendMsg(any) error            { return nil }

// TestWatchProgressWhereNothingElseIsTold leaves out the progress that an event tells as well.
func TestWatchProgressWhereNothingElseIsTold(t *testing.T) {
	member := startStore(t)
	w := newWatchStream(member.server, func() {})
	defer w.feed.Close()
	w.stream = discard{}
	send := func(want int) {
		t.Helper()
		member.store.DispatchEvents()
		deliveries, _, err := w.feed.Next(t.Context())
		if err == nil {
			err = w.send(deliveries)
		}
		if err != nil || len(deliveries) != want {
			t.Fatalf("%d deliveries, %v, want %d", len(deliveries), err, want)
		}
	}
	if err := w.create(t.Context(), &pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true}); err != nil {
		t.Fatal(err)
	}
	send(1)
	w.tellProgress()
	send(1)
	put(t, newClient(t, member.address), "k", "v")
	send(1)
	w.tellProgress() // not due: the event has told as much
	send(0)
	w.tellProgress()
	send(1)
	w.cancel(t.Context(), 0)
	send(1)
	if len(w.notifying) > 0 {
		t.Fatal("a watcher that is gone is still to be told progress")
	}
}

// TestWatchEndsWithTheMember tells clients to go elsewhere.
func TestWatchEndsWithTheMember(t *testing.T) {
	kvs, group := newStore(t)
	s, address := start(t, Config{Group: group, Store: kvs})
	w := watchRaw(t, address)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	w.want(1, "0: created")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantEnd(rpctypes.ErrGRPCStopped)
}

// TestWatchEndsWithoutALeader ends the streams that ask for it, and no others.
func TestWatchEndsWithoutALeader(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, LeaderTimeout: 30 * time.Millisecond})
	client := newClient(t, address)
	strict := watchRawWith(t, clientv3.WithRequireLeader(t.Context()), address)
	lenient := watchRaw(t, address)
	for _, w := range []*rawWatch{strict, lenient} {
		w.create(&pb.WatchCreateRequest{Key: []byte("k")})
		w.want(1, "0: created")
	}
	group.leadership.Store(&raft.Leadership{Term: 3})
	strict.wantEnd(rpctypes.ErrGRPCNoLeader)
	refused := watchRawWith(t, clientv3.WithRequireLeader(t.Context()), address)
	refused.wantEnd(rpctypes.ErrGRPCNoLeader)
	put(t, client, "k", "v")
	lenient.want(2, "0: PUT k=v 2.2.1")
}

// TestWatchEndsWithTheGroup does not leave those waiting for ever whom nobody will tell anything any more.
func TestWatchEndsWithTheGroup(t *testing.T) {
	kvs, group := newStore(t)
	_, address := start(t, Config{Group: group, Store: kvs, LeaderTimeout: 30 * time.Millisecond})
	w := watchRaw(t, address)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	w.want(1, "0: created")
	fenced := fmt.Errorf("%w: its disk broke", balsa.ErrFenced)
	group.err.Store(&fenced)
	w.wantEnd(rpctypes.ErrGRPCStopped)
	watchRaw(t, address).wantEnd(rpctypes.ErrGRPCStopped)
}

// TestE50NothingIsWatchedBeforeTheStoreHasCaughtUp keeps a watcher of the present from beginning in the past.
func TestE50NothingIsWatchedBeforeTheStoreHasCaughtUp(t *testing.T) {
	kvs, group := newStore(t)
	group.ready = make(chan struct{})
	_, address := start(t, Config{Group: group, Store: kvs})
	w := watchRaw(t, address)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	entry, err := store.EncodePut(&pb.PutRequest{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.apply(entry); err != nil { // the replay of its own log
		t.Fatal(err)
	}
	close(group.ready)
	w.want(2, "0: created")
}

// TestSlowWatchDelaysNobody has a client that does not read while others do, and lets it catch up in the end.
func TestSlowWatchDelaysNobody(t *testing.T) {
	member := startStore(t)
	client := newClient(t, member.address)
	slow, quick := watchRaw(t, member.address), watchRaw(t, member.address)
	for _, w := range []*rawWatch{slow, quick} {
		w.create(&pb.WatchCreateRequest{Key: []byte("k")})
		w.want(1, "0: created")
	}
	if stats := member.store.WatchStats(); stats.Feeds != 2 || stats.Watchers != 2 || stats.Late != 0 || stats.Lag != 0 {
		t.Fatalf("%+v", stats)
	}
	value := strings.Repeat("v", 100<<10)
	const puts = 80
	for i := range int64(puts) {
		put(t, client, "k", value)
		quick.want(i+2, fmt.Sprintf("0: PUT k=vvvvvvvv 2.%d.%d", i+2, i+1))
	}
	if stats := member.store.WatchStats(); stats.Late != 1 || stats.Lag == 0 || stats.PendingBytes > 2<<20 {
		t.Fatalf("%+v", stats)
	}
	for next := int64(2); next < puts+2; {
		r, err := slow.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next || len(e.Kv.Value) != len(value) {
				t.Fatalf("told revision %d with %d bytes, want %d", e.Kv.ModRevision, len(e.Kv.Value), next)
			}
			next++
		}
	}
}

// TestWatchCanceledByItsClient counts what went away as such.
func TestWatchCanceledByItsClient(t *testing.T) {
	member := startStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := watchRawWith(t, ctx, member.address)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	w.want(1, "0: created")
	cancel()
	if _, err := w.stream.Recv(); status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
}

// TestWatchRequestsOfAnyKind floods a stream with requests whose answers are not read: it waits, and does not grow.
func TestWatchRequestsOfAnyKind(t *testing.T) {
	member := startStore(t)
	w := watchRaw(t, member.address)
	const watchers = 5000
	sent := make(chan error, 1)
	go func() {
		for range watchers {
			r := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}
			if err := w.stream.Send(proto.CloneOf(r)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for id := range int64(watchers) {
		w.want(1, fmt.Sprintf("%d: created", id))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	put(t, newClient(t, member.address), "k", "v")
	told := map[int64]bool{}
	for range watchers {
		r, err := w.stream.Recv()
		if err != nil || len(r.Events) != 1 || told[r.WatchId] {
			t.Fatal(r, err)
		}
		told[r.WatchId] = true
	}
}
