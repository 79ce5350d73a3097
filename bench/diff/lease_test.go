package diff

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// TestLeaseStreams compares random streams in which leases are granted, attached, renewed and revoked.
func TestLeaseStreams(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			p := sides(t, members, servers.Kind(*peer))
			streams(t, p, 15, func(seed uint64) []call { return newLeaseGenerator(seed, members).leaseStream(*calls) })
		})
	}
}

// plantedInLeases are differences as a server would show them whose leases are wrong.
var plantedInLeases = map[string]tamper{
	"a put loses its lease": {call: func(c call) call {
		if r, ok := c.request.(*pb.PutRequest); ok && r.Lease == 77 {
			r = proto.CloneOf(r)
			r.Lease = 0
			c.request = r
		}
		return c
	}},
	"what is not there has no time left, instead of -1": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.LeaseTimeToLiveResponse); ok && r.TTL == -1 {
			r.TTL = 0
		}
	}},
	"a lease has one key less": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.LeaseTimeToLiveResponse); ok && len(r.Keys) > 0 {
			r.Keys = r.Keys[1:]
		}
	}},
	"a keep-alive of what is not there finds it": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.LeaseKeepAliveResponse); ok && r.TTL == 0 {
			r.TTL = 1
		}
	}},
	"what is left is a minute less than it should be": {call: func(c call) call {
		if r, ok := c.request.(*pb.LeaseGrantRequest); ok && r.TTL == 300 {
			r = proto.CloneOf(r)
			r.TTL = 240
			c.request = r
		}
		return c
	}, answer: func(_ call, m proto.Message) {
		switch r := m.(type) {
		case *pb.LeaseGrantResponse:
			if r.TTL == 240 {
				r.TTL = 300
			}
		case *pb.LeaseTimeToLiveResponse:
			if r.GrantedTTL == 240 {
				r.GrantedTTL = 300
			}
		}
	}},
	"a lease is missing from the list": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.LeaseLeasesResponse); ok && len(r.Leases) > 1 {
			r.Leases = r.Leases[1:]
		}
	}},
	"a revocation makes a revision more": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.LeaseRevokeResponse); ok && r.Header != nil { // none where it was refused
			r.Header.Revision++
		}
	}},
}

// TestPlantedDifferencesInLeasesAreFound shows that the comparison of leases can fail.
func TestPlantedDifferencesInLeasesAreFound(t *testing.T) {
	for name, fault := range plantedInLeases {
		t.Run(name, func(t *testing.T) {
			findPlanted(t, fault, func(seed uint64) []call { return newLeaseGenerator(seed, 1).leaseStream(100) })
		})
	}
}

// TestKeepAliveStreams sends many keep-alives over one stream: of leases that exist, that were revoked, and that never were.
func TestKeepAliveStreams(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			p := sides(t, members, servers.Kind(*peer))
			g := newGenerator(firstSeed(), members)
			var ids []int64
			for range 200 {
				ids = append(ids, 1+g.Int64N(6))
			}
			var want, got answer
			if err := p.both(func(s *side, a *answer) (err error) {
				*a, err = s.keepAlives(t.Context(), ids)
				return err
			}, &want, &got); err != nil {
				t.Fatal(err)
			}
			if want != got {
				t.Errorf("keep-alives of %v\n%s: %s\n%s: %s", ids, p.reference.name, short(want, got), p.peer.name, short(got, want))
			}
		})
	}
}

// keepAlives grants leases 1 to 5, of which 3 is revoked again, and renews as many as there are ids over one stream to the
// last member. All are sent before the first answer is read.
func (s *side) keepAlives(ctx context.Context, ids []int64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.reset(ctx); err != nil {
		return "", err
	}
	for id := int64(1); id <= 5; id++ {
		if _, err := s.do(ctx, call{"LeaseGrant", 0, &pb.LeaseGrantRequest{ID: id, TTL: 100 * id}}); err != nil {
			return "", err
		}
	}
	if _, err := s.do(ctx, call{"LeaseRevoke", 0, &pb.LeaseRevokeRequest{ID: 3}}); err != nil {
		return "", err
	}
	last := len(s.conns) - 1
	if err := s.catchUp(ctx, last); err != nil {
		return "", err
	}
	stream, err := pb.NewLeaseClient(s.conns[last]).LeaseKeepAlive(ctx)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return "", err
		}
	}
	var all answer
	for range ids {
		r, err := stream.Recv()
		if err != nil {
			return "", err
		}
		shiftRevisions(r.ProtoReflect(), -s.shift)
		all += answer(printMessage(r)) + "\n"
	}
	return all, nil
}

// TestExpiry lets leases end on both sides, and compares what a watcher is told of it and what is left.
func TestExpiry(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			p := sides(t, members, servers.Kind(*peer))
			var want, got answer
			if err := p.both(func(s *side, a *answer) (err error) {
				*a, err = s.expiries(t.Context())
				return err
			}, &want, &got); err != nil {
				t.Fatal(err)
			}
			if want != got {
				t.Errorf("%s: %s\n%s: %s", p.reference.name, want, p.peer.name, got)
			}
		})
	}
}

// expiries grants three leases, of which the last lives on, attaches keys, and waits until two of them have ended.
// Which of these is the first, and between what, is not compared. That none is early is checked, on both sides.
func (s *side) expiries(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.reset(ctx); err != nil {
		return "", err
	}
	var all answer
	play := func(lines ...string) error {
		for _, line := range lines {
			c, err := parseCall(line)
			if err != nil {
				return err
			}
			a, err := s.do(ctx, c)
			if err != nil {
				return err
			}
			all += answer(line) + "\n    " + a + "\n"
		}
		return nil
	}
	since := time.Now()
	if err := play(`LeaseGrant ID:1 TTL:8`, `LeaseGrant ID:2 TTL:9`, `LeaseGrant ID:3 TTL:400`,
		`Put key:"c" lease:1`, `Put key:"a" lease:1`, `Put key:"b" lease:2`, `Put key:"d" lease:3`,
		`Put key:"moved" lease:1`, `Put key:"moved" lease:3`, `Put key:"detached" lease:2`, `Put key:"detached"`,
		`Put key:"gone" lease:2`, `DeleteRange key:"gone"`,
	); err != nil {
		return "", err
	}
	ended, err := s.awaitDeletions(ctx, since, map[string]time.Duration{"a": 8 * time.Second, "b": 9 * time.Second, "c": 8 * time.Second})
	if err != nil {
		return "", err
	}
	all += ended
	err = play(`LeaseLeases`, `LeaseTimeToLive ID:1 keys:true`, `LeaseTimeToLive ID:3 keys:true`, `LeaseKeepAlive ID:1`, `LeaseKeepAlive ID:3`,
		`LeaseRevoke ID:2`, `Put key:"e" lease:2`, `Range key:"\x00" range_end:"\x00"`, `LeaseGrant ID:1 TTL:100`, `LeaseTimeToLive ID:1 keys:true`)
	return all, err
}

// awaitDeletions watches everything until some keys are deleted, and returns the events of each revision. None may come
// before its time.
func (s *side) awaitDeletions(ctx context.Context, since time.Time, atLeast map[string]time.Duration) (answer, error) {
	stream, err := pb.NewWatchClient(s.conns[0]).Watch(ctx)
	if err != nil {
		return "", err
	}
	create := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: s.shift + 2, PrevKv: true}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return "", err
	}
	rows := map[int64]string{} // what has ended, by revision
	for left := len(atLeast); left > 0; {
		r, err := stream.Recv()
		if err != nil {
			return "", err
		}
		for _, e := range r.Events {
			least, expires := atLeast[string(e.Kv.Key)]
			if e.Type != mvccpb.Event_DELETE || !expires {
				continue
			}
			if took := time.Since(since); took < least {
				return "", fmt.Errorf("%s ends the lease of %s after %v", s.name, e.Kv.Key, took)
			}
			rows[e.Kv.ModRevision] += fmt.Sprintf(" %s, which was %q with lease %d;", e.Kv.Key, e.PrevKv.GetValue(), e.PrevKv.GetLease())
			left--
		}
	}
	var lines []string
	for _, row := range rows {
		lines = append(lines, "    one revision deletes"+row+"\n")
	}
	slices.Sort(lines)
	return answer(strings.Join(lines, "")), nil
}
