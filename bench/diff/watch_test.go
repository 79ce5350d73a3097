package diff

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// TestWatchStreams has random watchers watch a random history on both sides, and compares what each is told: that it
// was created, all events field by field, how it ended. How many revisions come in one response, and what responses
// of several watchers are mixed like, is the server's business.
func TestWatchStreams(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			p := sides(t, members, servers.Kind(*peer))
			first := firstSeed()
			t.Logf("seeds from %d", first)
			until, n := time.Now().Add(*long/2), uint64(0)
			for ; n < 8 || time.Now().Before(until); n++ {
				script := watchScript(newLeaseGenerator(first+n, members), *calls)
				if want, got := p.follow(t, script); want != got {
					t.Fatalf("seed %d: the watchers are told differently\n%s\n%s: %s\n%s: %s\nagain: go test ./diff -run '%s' -seed %d -calls %d",
						first+n, describeScript(script), p.reference.name, short(want, got), p.peer.name, short(got, want), t.Name(), first+n, *calls)
				}
			}
			t.Logf("%d streams agreed", n)
		})
	}
}

// follow resets both sides and plays a script on both at once.
func (p pair) follow(t *testing.T, script []watchStep) (want, got answer) {
	t.Helper()
	err := patiently(func() error {
		return p.both(func(s *side, a *answer) error {
			if err := s.reset(t.Context()); err != nil {
				return err
			}
			var err error
			*a, err = s.follow(t.Context(), script)
			return err
		}, &want, &got)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, describeScript(script))
	}
	return want, got
}

// plantedInWatches are differences as a server would show them whose watches are wrong.
var plantedInWatches = map[string]func(*pb.WatchResponse){
	"an event is lost": func(r *pb.WatchResponse) {
		if len(r.Events) > 1 {
			r.Events = r.Events[1:]
		}
	},
	"an event comes twice": func(r *pb.WatchResponse) {
		if len(r.Events) > 1 {
			r.Events = append(r.Events, r.Events[0])
		}
	},
	"a deletion has no previous pair": func(r *pb.WatchResponse) {
		for _, e := range r.Events {
			if e.Type == mvccpb.Event_DELETE {
				e.PrevKv = nil
			}
		}
	},
	"the compact revision is one too low": func(r *pb.WatchResponse) {
		if r.CompactRevision > 0 {
			r.CompactRevision--
		}
	},
	"a refusal gives no reason": func(r *pb.WatchResponse) { r.CancelReason = "" },
}

// TestPlantedDifferencesInWatchesAreFound shows that the comparison of watches can fail.
func TestPlantedDifferencesInWatchesAreFound(t *testing.T) {
	for name, fault := range plantedInWatches {
		t.Run(name, func(t *testing.T) {
			p := sides(t, 1, servers.Etcd)
			p.peer.tamper.watch = fault
			for s := uint64(1); s <= 20; s++ {
				if want, got := p.follow(t, watchScript(newLeaseGenerator(s, 1), *calls)); want != got {
					t.Logf("seed %d: %s\n%s", s, short(want, got), short(got, want))
					return
				}
			}
			t.Fatal("twenty scripts did not find it")
		})
	}
}

// watchStep is a call, or a request of a watch stream.
type watchStep struct {
	call    *call
	request *pb.WatchRequest
}

func describeScript(script []watchStep) string {
	var b strings.Builder
	for _, s := range script {
		if s.call != nil {
			fmt.Fprintln(&b, s.call)
		} else {
			fmt.Fprintln(&b, s.request)
		}
	}
	return b.String()
}

// watchScript makes a history with watchers. None begins in the future: those are not told how far they are, which is
// how the script knows that it was told everything.
func watchScript(g *generator, n int) (script []watchStep) {
	for len(script) < n {
		switch g.IntN(6) {
		case 0:
			script = append(script, watchStep{request: g.watchRequest()})
			g.revision += 2 // follower.sync
		default:
			c := g.call()
			if g.chance(15) {
				c = g.leaseCall()
			}
			if slices.Contains([]string{"Put", "DeleteRange", "Txn", "Compact", "LeaseGrant", "LeaseRevoke"}, c.method) {
				script = append(script, watchStep{call: &c})
			}
		}
	}
	return script
}

func (g *generator) watchRequest() *pb.WatchRequest {
	if g.chance(20) {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: g.Int64N(6)}}}
	}
	key := g.key()
	r := &pb.WatchCreateRequest{Key: key, RangeEnd: g.end(key), PrevKv: g.chance(50), Fragment: g.chance(20)}
	if g.chance(50) {
		r.StartRevision = min(g.anyRevision(), g.revision/2)
	}
	if g.chance(30) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_FilterType(g.IntN(3)))
	}
	if g.chance(20) {
		r.WatchId = g.Int64N(6)
	}
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// follower is a side's watch stream.
type follower struct {
	side     *side
	conn     *grpc.ClientConn // to the member that is watched
	stream   grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]
	heard    chan *pb.WatchResponse
	told     map[int64][]string // by watcher
	refused  []string
	alive    map[int64]bool // created, and not canceled by us
	ended    map[int64]bool // by the server, and not canceled by us either
	progress int64
	revision int64 // of the server
}

// follow plays a script and returns what was told to whom.
func (s *side) follow(ctx context.Context, script []watchStep) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn := s.conns[len(s.conns)-1]
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return "", err
	}
	f := &follower{
		side: s, conn: conn, stream: stream, heard: make(chan *pb.WatchResponse),
		told: map[int64][]string{}, alive: map[int64]bool{}, ended: map[int64]bool{},
	}
	go func() {
		defer close(f.heard)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case f.heard <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	for _, step := range script {
		if err := f.play(ctx, step); err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := f.sync(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	lines := f.refused
	for _, id := range slices.Sorted(maps.Keys(f.told)) {
		lines = append(lines, fmt.Sprintf("watcher %d", id))
		lines = append(lines, f.told[id]...)
	}
	return answer(strings.Join(lines, "\n")), nil
}

// play plays a step, and waits until it is answered and all watchers are told what there is. Without that the two sides
// could differ in what a compaction takes away from them.
func (f *follower) play(ctx context.Context, step watchStep) error {
	if step.call != nil {
		compacts := step.call.method == "Compact"
		if compacts { // what was there before an event is looked up when the event is sent
			if err := f.sync(ctx); err != nil {
				return err
			}
		}
		_, err := f.side.do(ctx, *step.call)
		if err == nil && compacts {
			return f.sync(ctx)
		}
		return err
	}
	if err := f.sync(ctx); err != nil {
		return err
	}
	request := proto.CloneOf(step.request)
	shiftRevisions(request.ProtoReflect(), f.side.shift)
	if create := request.GetCreateRequest(); create != nil {
		create.StartRevision = min(create.StartRevision, f.revision)
	}
	cancel := request.GetCancelRequest()
	if cancel != nil && !f.alive[cancel.WatchId] {
		cancel = nil // not answered
	}
	if cancel != nil {
		if err := f.cancel(ctx, cancel.WatchId); err != nil {
			return err
		}
	} else if err := f.create(ctx, request); err != nil {
		return err
	}
	return f.sync(ctx)
}

// create makes a watcher, and waits until it is there or refused. It may be a cancellation that nobody answers, too.
func (f *follower) create(ctx context.Context, request *pb.WatchRequest) error {
	err := f.stream.Send(request)
	for answered := request.GetCreateRequest() == nil; err == nil && !answered; {
		var r *pb.WatchResponse
		r, err = f.hear(ctx)
		answered = err == nil && r.Created
	}
	return err
}

// cancel cancels a watcher, and waits until that is said.
func (f *follower) cancel(ctx context.Context, id int64) error {
	err := f.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	for answered := false; err == nil && !answered; {
		var r *pb.WatchResponse
		r, err = f.hear(ctx)
		answered = err == nil && r.Canceled && r.WatchId == id && r.CompactRevision == 0
	}
	delete(f.alive, id)
	delete(f.ended, id)
	return err
}

// sync returns when the server says that all watchers are told what there is. Where one is behind etcd does not answer,
// and neither where one has ended by a compaction and was not canceled since: those are canceled. It makes a revision of
// its own first, so that an answer to an earlier question, which was about other watchers, is not taken for one to this.
func (f *follower) sync(ctx context.Context) error {
	put, err := pb.NewKVClient(f.conn).Put(ctx, &pb.PutRequest{Key: []byte("sync")})
	if err != nil {
		return err
	}
	f.revision = put.Header.Revision
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for f.progress < f.revision && len(f.alive) > 0 || len(f.ended) > 0 {
		for id := range f.ended {
			if err := f.cancel(ctx, id); err != nil {
				return err
			}
		}
		if len(f.alive) == 0 {
			break
		}
		ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		if err := f.stream.Send(ask); err != nil {
			return err
		}
		select {
		case r, ok := <-f.heard:
			if !ok {
				return fmt.Errorf("the stream has ended")
			}
			f.note(r)
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *follower) hear(ctx context.Context) (*pb.WatchResponse, error) {
	select {
	case r, ok := <-f.heard:
		if !ok {
			return nil, fmt.Errorf("the stream has ended")
		}
		f.note(r)
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// note writes down what a response tells.
func (f *follower) note(r *pb.WatchResponse) {
	shifted := proto.CloneOf(r)
	shiftRevisions(shifted.ProtoReflect(), -f.side.shift)
	f.side.leases.fromServer(shifted)
	if f.side.tamper.watch != nil {
		f.side.tamper.watch(shifted)
	}
	switch {
	case r.Created && r.Canceled:
		f.refused = append(f.refused, printMessage(shifted))
	case r.WatchId == -1:
		f.progress = max(f.progress, r.Header.Revision)
	case r.Created || r.Canceled:
		if r.Created {
			f.alive[r.WatchId] = true
		} else if r.CompactRevision != 0 {
			f.ended[r.WatchId] = true
		}
		f.told[r.WatchId] = append(f.told[r.WatchId], printMessage(shifted))
	default:
		for _, e := range shifted.Events {
			f.told[r.WatchId] = append(f.told[r.WatchId], printMessage(e))
		}
	}
}
