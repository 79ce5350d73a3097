package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/server"
)

// streamClient watches: it has a stream of watchers to one member, and when that is gone, one to another, where each watcher
// goes on behind the last revision that it was told of.
type streamClient struct {
	run     *run
	id      int
	random  *rand.Rand
	session *session // nil where there is none
	watched []*watched
	nextID  int64
}

// watched is a watcher as its client knows it, over all streams.
type watched struct {
	request *pb.WatchCreateRequest // without a start
	id      int64                  // on the current stream
	start   int64                  // that was asked for; 0 is from now on
	created bool                   // on the current stream
	ending  bool                   // its end was asked for
	// through is the revision up to which it was told everything, next the place of what follows in the replay's events.
	through int64
	next    int
	part    []*mvccpb.Event // fragments of a response that is not complete
}

// session is a stream to one life of a member.
type session struct {
	client *streamClient
	host   *Host
	life   *life
	task   actor.Task
	server *server.WatchSession
	slow   bool // its client does not read
	asked  bool // for progress
	told   bool // it, since then
}

func (r *run) startStream(id int) {
	c := &streamClient{run: r, id: id, random: rand.New(rand.NewPCG(r.world.seed, 0x73747265<<16|uint64(id)))}
	for range 1 + c.random.IntN(3) {
		c.watched = append(c.watched, c.draw())
	}
	r.crowd.streams = append(r.crowd.streams, c)
	r.world.After(between(c.random, 0, r.plan.ElectionTimeout), c.tend)
}

// draw draws a watcher that begins now, in the past, or in the future.
func (c *streamClient) draw() *watched {
	m, random := c.run.replay, c.random
	q := &pb.WatchCreateRequest{}
	w := &watched{request: q}
	q.PrevKv, q.Fragment, q.ProgressNotify = random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(2) == 0
	switch random.IntN(6) {
	case 0:
		q.Key, q.RangeEnd = []byte{0}, []byte{0}
	case 1:
		q.Key = fmt.Appendf(nil, "key%d", random.IntN(c.run.plan.Clients.Keys))
	case 2:
		q.Key, q.RangeEnd = []byte("key"), []byte("kez")
	case 3:
		q.Key, q.RangeEnd = []byte("w"), []byte("x")
	case 4:
		q.Key = fmt.Appendf(nil, "w%02d", random.IntN(c.run.plan.Crowd.Keys))
		q.RangeEnd = append(slices.Clone(q.Key[:2]), q.Key[2]+2)
	case 5:
		q.Key, q.RangeEnd = []byte("key3"), []byte("w05")
	}
	switch random.IntN(6) {
	case 0:
		q.Filters = append(q.Filters, pb.WatchCreateRequest_NOPUT)
	case 1:
		q.Filters = append(q.Filters, pb.WatchCreateRequest_NODELETE)
	}
	switch random.IntN(8) {
	case 0, 1, 2:
		w.start = 1 + random.Int64N(m.revision+1)
	case 3:
		w.start = m.revision + random.Int64N(5)
	case 4:
		w.start = max(1, m.revision-random.Int64N(10))
	}
	w.from(m, w.start)
	return w
}

// from makes a start the first revision that is not told yet.
func (w *watched) from(m *replay, start int64) {
	w.through = start - 1
	w.next = m.eventsFrom(start)
}

// tend does what a client does from time to time: it sees to its stream, and asks for this and that.
func (c *streamClient) tend() {
	r := c.run
	r.world.After(between(c.random, r.plan.ElectionTimeout/4, 2*r.plan.ElectionTimeout), c.tend)
	s := c.session
	if s != nil && s.life.over {
		c.leave()
		s = nil
	}
	switch {
	case s == nil:
		if h := r.anyHost(c.random); h.Up() && !h.life.paused && h.Group.Recovered() {
			c.connect(h)
		}
	case s.life.paused:
		if c.random.IntN(4) == 0 && !r.healing { // it hears nothing any more
			c.leave()
		}
	case r.healing:
		s.read()
		if !s.told {
			s.askProgress()
		}
	default:
		c.fidget(s)
	}
}

// fidget does one of the things that clients do with a stream.
func (c *streamClient) fidget(s *session) {
	r := c.run
	switch c.random.IntN(16) {
	case 0:
		c.leave()
		r.counters["watch streams left"]++
	case 1, 2:
		s.askProgress()
	case 3, 4:
		s.server.TellProgress()
	case 5, 6:
		if !s.slow {
			s.slow = true
			r.counters["watch clients that do not read"]++
			r.later(r.forSome(c.random), s.read)
		}
	case 7, 8:
		w := c.watched[c.random.IntN(len(c.watched))]
		if w.created && !w.ending {
			w.ending = true
			s.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: w.id}}})
		}
	}
}

// connect begins a stream, and asks for all watchers.
func (c *streamClient) connect(h *Host) {
	r := c.run
	s := &session{client: c, host: h, life: h.life}
	s.task = hostScheduler{r.world, h.life}.Start("watch stream", s.turn)
	s.server = server.NewWatchSession(h.Group, h.State.(*StoreState).Store, r.plan.Crowd.Fragment, s.task.Wake, s.send)
	c.session = s
	r.counters["watch streams"]++
	r.world.note(Event{Member: h.ID, Actor: "client", What: "watch stream", N: uint64(c.id)})
	for i, w := range c.watched {
		if w.ending { // it has ended with the last stream
			w = c.draw()
			c.watched[i] = w
		}
		c.create(w)
	}
}

func (c *streamClient) create(w *watched) {
	c.nextID++
	w.id, w.created, w.part = c.nextID, false, nil
	if w.through >= 0 {
		w.start = w.through + 1
	}
	q := proto.CloneOf(w.request)
	q.WatchId, q.StartRevision = w.id, w.start
	c.run.counters["watchers"]++
	c.session.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
}

func (c *streamClient) leave() {
	s := c.session
	c.session = nil
	if !s.life.over {
		s.server.Close()
		s.task.Stop()
	}
}

func (s *session) askProgress() {
	s.asked, s.told = true, false
	s.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (s *session) ask(q *pb.WatchRequest) {
	if err := s.server.Handle(context.Background(), q); err != nil {
		s.client.run.fail(s.client.run.watches.name(), fmt.Errorf("member %d refused %v: %w", s.host.ID, q, err))
	}
}

// read has a client that did not read go on.
func (s *session) read() {
	if s.slow {
		s.slow = false
		s.task.Wake()
	}
}

// turn is the stream's sender at the member.
func (s *session) turn(now actor.Instant) actor.Instant {
	if s.slow || s.client.session != s {
		return actor.Never
	}
	more, err := s.server.Pump(context.Background())
	if err != nil {
		s.client.run.fail(s.client.run.watches.name(), fmt.Errorf("member %d ends a stream of watchers: %w", s.host.ID, err))
	}
	if more {
		return now.Add(time.Microsecond)
	}
	return actor.Never
}

// send has the client hear a response when the turn is over.
func (s *session) send(response *pb.WatchResponse) error {
	c := s.client
	c.run.world.afterTurn(func() {
		if c.session == s {
			c.run.fail(c.run.watches.name(), c.run.watches.heard(s, response))
		}
	})
	return nil
}
