package sim

import (
	"errors"
	"fmt"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa"
)

// watchesTold: a watcher is told of every change that it asked for, once, in order, with all of a revision at once, whichever
// members it was at; of nothing else; and it is told how far it is only when it is. Where it was told of the end of a stretch of revisions,
// all that the replay has in that stretch must have come. A watcher ends when its client wants that, or when what it would be told next
// was compacted. When all is healed, all are told everything.
type watchesTold struct {
	tally
	run *run
}

func (*watchesTold) name() string { return "watchers are told everything, once, in order" }

// heard judges a response, and has the client go on as it must.
func (x *watchesTold) heard(s *session, response *pb.WatchResponse) error {
	x.judges()
	c, r := s.client, x.run
	e := Event{Member: s.host.ID, Actor: "client", What: "told", N: uint64(c.id), Index: balsa.Index(response.Header.GetRevision())}
	if r.world.Tracing() {
		e.Detail = fmt.Sprint(response)
	}
	r.world.note(e)
	if response.WatchId == -1 {
		s.told = true
		return x.progress(s, response)
	}
	for i, w := range c.watched {
		if w.id != response.WatchId {
			continue
		}
		err := x.toldOne(w, response)
		switch {
		case err != nil:
			return fmt.Errorf("client %d, watching from %d, told up to %d, at member %d: %w", c.id, w.start, w.through, s.host.ID, err)
		case !response.Canceled:
		case response.CompactRevision > 0 && !w.ending:
			r.counters["watchers that were compacted"]++
			w.from(r.replay, response.CompactRevision)
			c.create(w)
		default:
			r.counters["watchers that were cancelled"]++
			c.watched[i] = c.draw()
			c.create(c.watched[i])
		}
		return nil
	}
	return fmt.Errorf("client %d is told of a watcher that it does not have: %v", c.id, response)
}

// progress is told for a whole stream.
func (x *watchesTold) progress(s *session, response *pb.WatchResponse) error {
	x.run.counters["progress of streams"]++
	if len(response.Events) > 0 || response.Created || response.Canceled {
		return fmt.Errorf("client %d is told of no watcher: %v", s.client.id, response)
	}
	for _, w := range s.client.watched {
		if !w.created || w.ending {
			continue
		}
		if err := x.tell(w, response.Header.Revision, nil); err != nil {
			return fmt.Errorf("client %d, watching from %d, told up to %d, at member %d: %w", s.client.id, w.start, w.through, s.host.ID, err)
		}
	}
	return nil
}

func (x *watchesTold) toldOne(w *watched, response *pb.WatchResponse) error {
	revision := response.Header.GetRevision()
	switch {
	case response.Created == w.created:
		return fmt.Errorf("created: %v, and it is told %v", w.created, response)
	case response.Created && (response.Canceled || len(response.Events) > 0):
		return fmt.Errorf("its creation comes with other things: %v", response)
	case response.Created:
		w.created = true
		if w.start == 0 {
			w.from(x.run.replay, revision+1)
		}
		return x.known(revision)
	case response.Canceled && response.CompactRevision > 0:
		return x.compacted(w, response.CompactRevision)
	case response.Canceled && !w.ending:
		return fmt.Errorf("it ends and nobody wanted that: %v", response)
	case response.Canceled:
		return nil
	}
	w.part = append(w.part, response.Events...)
	if response.Fragment {
		x.run.counters["fragments of responses"]++
		return nil
	}
	events := w.part
	w.part = nil
	if len(events) == 0 {
		x.run.counters["progress of watchers"]++
	}
	return x.tell(w, revision, events)
}

// compacted judges the end of a watcher that cannot go on.
func (x *watchesTold) compacted(w *watched, at int64) error {
	if m := x.run.replay; !m.compactions[at] {
		return fmt.Errorf("it is told that %d was compacted, and nobody did", at)
	}
	if w.through+1 >= at {
		return fmt.Errorf("it is told that it cannot go on since %d was compacted", at)
	}
	return nil
}

func (x *watchesTold) known(revision int64) error {
	if m := x.run.replay; revision > m.revision {
		return fmt.Errorf("it is told of revision %d, the replay is at %d", revision, m.revision)
	}
	return nil
}

// tell compares what a watcher was told to be everything up to a revision with the replay.
func (x *watchesTold) tell(w *watched, through int64, events []*mvccpb.Event) error {
	if err := x.known(through); err != nil {
		return err
	}
	m := x.run.replay
	n := 0
	for ; w.next < len(m.events) && m.events[w.next].revision <= through; w.next++ {
		e := &m.events[w.next]
		if !w.wants(e) {
			continue
		}
		if n == len(events) {
			return fmt.Errorf("it was not told of the change of %s at revision %d, and is told that it knows all up to %d", e.key, e.revision, through)
		}
		if err := x.same(w, e, events[n]); err != nil {
			return err
		}
		n++
	}
	if n < len(events) {
		return fmt.Errorf("it is told of %v, which is not to be told next, up to %d", events[n], through)
	}
	x.run.counters["events told"] += uint64(n)
	w.through = max(w.through, through)
	return nil
}

// same compares an event with the replay's. The pair before it may have been compacted, and is left out then.
func (x *watchesTold) same(w *watched, want *modelEvent, got *mvccpb.Event) error {
	kind, pair := mvccpb.PUT, want.pair
	if pair == nil {
		kind, pair = mvccpb.DELETE, &mvccpb.KeyValue{Key: []byte(want.key), ModRevision: want.revision}
	}
	previous := want.previous
	if !w.request.PrevKv || got.PrevKv == nil && want.revision-1 < x.run.replay.compacted {
		previous = nil
	}
	if got.Type != kind || !proto.Equal(got.Kv, pair) || !proto.Equal(got.PrevKv, previous) {
		return fmt.Errorf("it is told of %v, the replay says %v of %v, before that %v", got, kind, pair, previous)
	}
	return nil
}

// wants reports whether a watcher is to be told of a change.
func (w *watched) wants(e *modelEvent) bool {
	q := w.request
	if e.revision <= w.through || !inRange(e.key, q.Key, q.RangeEnd) {
		return false
	}
	for _, filter := range q.Filters {
		if filter == pb.WatchCreateRequest_NOPUT && e.pair != nil || filter == pb.WatchCreateRequest_NODELETE && e.pair == nil {
			return false
		}
	}
	return true
}

// eventsFrom returns the place of the first event at or above a revision.
func (m *model) eventsFrom(revision int64) int {
	return sort.Search(len(m.events), func(i int) bool { return m.events[i].revision >= revision })
}

// missing returns what a client was not told yet; nil where it knows everything.
func (x *watchesTold) missing(c *streamClient) error {
	if c.session == nil {
		return fmt.Errorf("client %d has no stream", c.id)
	}
	m, future := x.run.replay, false
	for _, w := range c.watched {
		future = future || w.start > m.revision+1
		for i := w.next; i < len(m.events); i++ {
			if e := &m.events[i]; w.wants(e) {
				return fmt.Errorf("client %d at member %d, watching from %d, created: %v, told up to %d: it was not told of the change of %s at %d",
					c.id, c.session.host.ID, w.start, w.created, w.through, e.key, e.revision)
			}
		}
		if !w.created {
			return fmt.Errorf("client %d at member %d: a watcher from %d was not made", c.id, c.session.host.ID, w.start)
		}
	}
	if !c.session.told && !future {
		return fmt.Errorf("client %d at member %d has asked for progress: %v, and was not told", c.id, c.session.host.ID, c.session.asked)
	}
	return nil
}

// untold returns what clients were not told yet.
func (x *watchesTold) untold() (err error) {
	for _, c := range x.run.crowd.streams {
		err = errors.Join(err, x.missing(c))
	}
	return err
}
