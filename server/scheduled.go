package server

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// What of a server can do without goroutines, for whoever schedules it himself: the simulator. A Server runs the same code.

// Lessor ends leases on the member that leads. Its methods are called by one, at a time.
type Lessor struct{ lessor *lessor }

// NewLessor returns the lessor of a member. Proposals of its own take timeout at most. wake is called, from anywhere, where there is
// something to do, and must not block; now tells the member's monotonic time.
func NewLessor(group Group, store Store, timeout time.Duration, now func() time.Time, wake func()) *Lessor {
	store.FollowLeases(wake)
	return &Lessor{&lessor{group: group, store: store, timeout: timeout, expired: func() {}, now: now, wake: wake}}
}

// Turn does what is to be done now. tick says that a lease tick is due, too (Config.LeaseTick).
func (l *Lessor) Turn(tick bool) { l.lessor.turn(tick) }

// WatchSession is a stream of watchers, from the requests as they were decoded to the responses. Its methods are called by
// one, at a time. A client that sends a thousand requests before Pump is called again is not served further.
type WatchSession struct{ stream *watchStream }

// NewWatchSession returns a session without watchers. Responses of requestBytes or more are sent in fragments where the
// client wants that. wake is called, from anywhere, where there is something to pump, and must not block.
func NewWatchSession(group Group, store Store, requestBytes int, wake func(), send func(*pb.WatchResponse) error) *WatchSession {
	s := &Server{group: group, store: store, config: Config{Limits: Limits{RequestBytes: requestBytes}}}
	w := newWatchStream(s, wake)
	w.stream = sessionStream{send: send}
	return &WatchSession{w}
}

// Handle handles a request.
func (s *WatchSession) Handle(ctx context.Context, r *pb.WatchRequest) error {
	return s.stream.handle(ctx, r)
}

// Pump sends what there is now, and reports whether there is more at once.
func (s *WatchSession) Pump(ctx context.Context) (more bool, err error) { return s.stream.pump(ctx) }

// TellProgress is called when progress is due (Config.WatchProgressInterval), for the watchers that want it.
func (s *WatchSession) TellProgress() { s.stream.tellProgress() }

// Close ends all watchers without telling.
func (s *WatchSession) Close() { s.stream.feed.Close() }

// sessionStream hands over what a stream would send.
type sessionStream struct {
	grpc.ServerStream // nil
	send              func(*pb.WatchResponse) error
}

func (s sessionStream) Send(r *pb.WatchResponse) error { return s.send(r) }

// SendMsg decodes what is encoded already, as the client would.
func (s sessionStream) SendMsg(m any) error {
	encoded, response := m.(gatheredResponse), &pb.WatchResponse{}
	var whole []byte
	for _, piece := range encoded {
		whole = append(whole, piece.ReadOnlyData()...)
	}
	if err := proto.Unmarshal(whole, response); err != nil {
		return err
	}
	return s.send(response)
}

// Recv implements the stream; requests come through Handle.
func (s sessionStream) Recv() (*pb.WatchRequest, error) {
	panic("a session receives nothing by itself")
}
