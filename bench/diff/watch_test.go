package diff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// TestWatchStreams has random watchers watch a random history on both sides, and compares what each is told: that it
// was created, all events field by field, how it ended. How many revisions come in one response, and what responses
// of several watchers are mixed like, is the server's business.
func TestWatchStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("it has found differences that are open: see the track record")
	}
	p := sides(t, 1, servers.Kind(*peer))
	first := firstSeed()
	t.Logf("seeds from %d", first)
	until, n, silent := time.Now().Add(*long), uint64(0), uint64(0)
	for ; n < 8 || time.Now().Before(until); n++ {
		script := watchScript(newGenerator(first+n, 1), *calls)
		var want, got answer
		err := p.both(func(s *side, a *answer) error {
			if err := s.reset(t.Context()); err != nil {
				return err
			}
			var err error
			*a, err = s.follow(t.Context(), script)
			return err
		}, &want, &got)
		if got != "" && errors.Is(err, context.DeadlineExceeded) && strings.HasPrefix(err.Error(), p.reference.name+":") {
			silent++ // it owes us an answer that it never gives: there is nothing to compare with
			t.Logf("seed %d: %v", first+n, err)
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", first+n, err)
		}
		if want != got {
			t.Fatalf("seed %d: the watchers are told differently\n%s\n%s: %s\n%s: %s", first+n, describeScript(script),
				p.reference.name, short(want, got), p.peer.name, short(got, want))
		}
	}
	t.Logf("%d streams agreed, in %d the reference fell silent", n-silent, silent)
	if silent > n/2 {
		t.Fatalf("the reference answered %d streams of %d only", n-silent, n)
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
		default:
			c := g.call()
			if slices.Contains([]string{"Put", "DeleteRange", "Txn", "Compact"}, c.method) {
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
	stream   grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]
	heard    chan *pb.WatchResponse
	told     map[int64][]string // by watcher
	refused  []string
	alive    map[int64]bool // created, and not canceled by us
	ended    map[int64]bool // by the server
	progress int64
	revision int64 // of the server
}

// follow plays a script and returns what was told to whom.
func (s *side) follow(ctx context.Context, script []watchStep) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := pb.NewWatchClient(s.conns[0]).Watch(ctx)
	if err != nil {
		return "", err
	}
	f := &follower{
		side: s, stream: stream, heard: make(chan *pb.WatchResponse),
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
		_, err := f.side.do(ctx, *step.call)
		if err == nil && step.call.method == "Compact" {
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
	if err := f.stream.Send(request); err != nil {
		return err
	}
	for answered := cancel == nil && request.GetCreateRequest() == nil; !answered; {
		r, err := f.hear(ctx)
		if err != nil {
			return err
		}
		answered = r.Created && cancel == nil || cancel != nil && r.Canceled && r.WatchId == cancel.WatchId
	}
	if cancel != nil {
		delete(f.alive, cancel.WatchId)
		delete(f.ended, cancel.WatchId)
	}
	return f.sync(ctx)
}

// sync returns when the server says that all watchers are told what there is. Where one is behind etcd does not answer.
func (f *follower) sync(ctx context.Context) error {
	header, err := pb.NewKVClient(f.side.conns[0]).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil {
		return err
	}
	f.revision = header.Header.Revision
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for f.progress < f.revision && len(f.alive) > len(f.ended) {
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
	f.progress = 0 // the next one may be about other watchers
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
