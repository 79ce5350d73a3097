package server

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/balsadb/balsa/store"
)

// watchService is the etcd v3 Watch service.
type watchService struct {
	pb.UnimplementedWatchServer
	*Server
}

type watchServer = grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]

// Watch serves a stream of any number of watchers. What the client asks for is received on a goroutine of its own; all
// that it is told goes through the stream's feed, which puts it in order, and is sent from here.
func (s *watchService) Watch(stream watchServer) error {
	ctx := stream.Context()
	if err := s.recovered(ctx); err != nil {
		return err
	}
	woken := make(chan struct{}, 1)
	w := newWatchStream(s.Server, func() { signal(woken) })
	w.woken = woken
	defer w.feed.Close() // the receiver, if it is still there, meets a closed feed
	received := make(chan error, 1)
	go func() { received <- w.receive(ctx, stream) }()
	return w.run(ctx, stream, received)
}

// watchStream is one client's stream.
type watchStream struct {
	server *Server
	feed   *store.Feed
	woken  chan struct{}
	// controls are places for answers to requests: who asks faster than it reads waits.
	controls chan struct{}

	// The receiver's own: the watchers by identifier, and where it looks for the next one.
	watchers map[int64]*streamWatcher
	nextID   int64

	sender
}

// streamWatcher is what a stream knows of a watcher beside the store.
type streamWatcher struct {
	id             int64
	fragment       bool
	progressNotify bool
	watcher        *store.Watcher // the receiver's
	told           bool           // something since progress was due the last time; the sender's
}

// maxControls is how many answers to requests a stream has waiting at most.
const maxControls = 1024

// newWatchStream returns a stream without watchers; wake is called where there is something to pump.
func newWatchStream(s *Server, wake func()) *watchStream {
	return &watchStream{
		server:   s,
		feed:     s.store.NewFeed(wake),
		controls: make(chan struct{}, maxControls),
		watchers: make(map[int64]*streamWatcher),
		sender:   sender{notifying: make(map[*streamWatcher]*store.Watcher)},
	}
}

// signal wakes who waits, or is about to. The channel has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// receive handles requests until the stream ends. A client that has nothing more to ask goes on being told.
func (w *watchStream) receive(ctx context.Context, stream watchServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			<-ctx.Done()
			return ctx.Err()
		}
		if err == nil {
			err = w.handle(ctx, r)
		}
		if err != nil {
			return err
		}
	}
}

// handle handles a request. A kind that is not known is passed over, as in etcd.
func (w *watchStream) handle(ctx context.Context, r *pb.WatchRequest) error {
	switch request := r.GetRequestUnion().(type) {
	case *pb.WatchRequest_CreateRequest:
		return w.create(ctx, request.CreateRequest)
	case *pb.WatchRequest_CancelRequest:
		return w.cancel(ctx, request.CancelRequest.GetWatchId())
	case *pb.WatchRequest_ProgressRequest:
		w.feed.AskProgress()
	}
	return nil
}

// takePlace waits until there is a place for an answer; the sender gives it back.
func (w *watchStream) takePlace(ctx context.Context) error {
	select {
	case w.controls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watchStream) create(ctx context.Context, r *pb.WatchCreateRequest) error {
	if err := w.takePlace(ctx); err != nil {
		return err
	}
	options := watchOptions(r)
	reason := checkWatch(&options)
	if reason == "" && w.watchers[r.GetWatchId()] != nil && r.GetWatchId() != 0 {
		reason = duplicateWatchID
	}
	if reason != "" {
		w.feed.Post(&pb.WatchResponse{
			Header: w.server.header(nil), WatchId: noWatchID, Created: true, Canceled: true, CancelReason: reason,
		})
		return nil
	}
	watcher := &streamWatcher{id: r.GetWatchId(), fragment: r.GetFragment(), progressNotify: r.GetProgressNotify()}
	if watcher.id == 0 {
		watcher.id = w.freeID()
	}
	w.watchers[watcher.id] = watcher
	options.Owner = watcher
	var err error
	watcher.watcher, err = w.feed.Watch(options)
	return err
}

// freeID returns the next identifier that the client has not given to a watcher itself.
func (w *watchStream) freeID() int64 {
	for w.watchers[w.nextID] != nil {
		w.nextID++
	}
	w.nextID++
	return w.nextID - 1
}

// cancel ends a watcher. As in etcd, one that is not there is not spoken of, and one whose revisions were compacted
// keeps its identifier until the client cancels it.
func (w *watchStream) cancel(ctx context.Context, id int64) error {
	watcher := w.watchers[id]
	if watcher == nil {
		return nil
	}
	if err := w.takePlace(ctx); err != nil {
		return err
	}
	delete(w.watchers, id)
	w.feed.Cancel(watcher.watcher)
	return nil
}
