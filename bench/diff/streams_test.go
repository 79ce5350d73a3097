package diff

import (
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// TestRandomStreams is the test that this package is for.
func TestRandomStreams(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			p := sides(t, members, servers.Kind(*peer))
			streams(t, p, 20, func(seed uint64) []call { return newGenerator(seed, members).stream(*calls) })
		})
	}
}

// TestReferenceAgreesWithItself shows that the comparison is sound: two etcd clusters, which differ in all that
// depends on chance, time and place, give no difference.
func TestReferenceAgreesWithItself(t *testing.T) {
	p := sides(t, 1, servers.Etcd)
	streams(t, p, 8, func(seed uint64) []call { return newGenerator(seed, 1).stream(*calls) })
	streams(t, p, 8, func(seed uint64) []call { return newLeaseGenerator(seed, 1).leaseStream(*calls) })
}

// streams compares n streams, or those of some time, each made of a seed.
func streams(t *testing.T, p pair, n int, streamOf func(seed uint64) []call) {
	t.Helper()
	first := firstSeed()
	t.Logf("seeds from %d", first)
	until := time.Now().Add(*long / 2) // each of two sizes takes a half
	made := uint64(0)
	defer func() { t.Logf("%d streams of %d calls agreed", made, *calls) }()
	for i := uint64(0); int(i) < n || *long > 0 && time.Now().Before(until); i++ {
		stream := streamOf(first + i)
		d, err := p.run(t.Context(), stream)
		if err != nil {
			t.Fatalf("seed %d: %v", first+i, err)
		}
		if d != nil {
			found := p.describe(p.shrink(t.Context(), d, *tries))
			t.Fatalf("seed %d, call %d is answered differently. The stream, shrunk (put it into testdata/cases):\n%s\n"+
				"again: go test ./diff -run '%s' -seed %d -calls %d", first+i, len(d.stream), found, t.Name(), first+i, *calls)
		}
		made++
	}
}

// TestASeedMakesOneStream: a seed that is printed has to lead to the same calls again.
func TestASeedMakesOneStream(t *testing.T) {
	a, b := newGenerator(7, 3).stream(500), newGenerator(7, 3).stream(500)
	if !slices.EqualFunc(a, b, func(a, b call) bool { return a.String() == b.String() && proto.Equal(a.request, b.request) }) {
		t.Fatal("one seed made two streams")
	}
	if slices.EqualFunc(a, newGenerator(8, 3).stream(500), func(a, b call) bool { return a.String() == b.String() }) {
		t.Fatal("two seeds made one stream")
	}
}

// TestCallsAreReadAsTheyArePrinted: a stream that failed is kept as the text that was printed of it.
func TestCallsAreReadAsTheyArePrinted(t *testing.T) {
	for _, c := range append(newGenerator(7, 3).stream(2000), newLeaseGenerator(7, 3).leaseStream(1000)...) {
		again, err := parseCall(c.String())
		if err != nil {
			t.Fatal(err)
		}
		if again.method != c.method || again.member != c.member || !proto.Equal(again.request, c.request) {
			t.Fatalf("%v was read as %v", c, again)
		}
	}
}

// planted are differences as a wrong server would show them. Each is put into one of two reference servers.
var planted = map[string]tamper{
	"count is that of the keys that are returned": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.RangeResponse); ok && len(r.Kvs) > 0 {
			r.Count = int64(len(r.Kvs))
		}
	}},
	"only the first deleted pair is returned": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.DeleteRangeResponse); ok && len(r.PrevKvs) > 1 {
			r.PrevKvs = r.PrevKvs[:1]
		}
	}},
	"a put that ignores the value is lost": {call: func(c call) call {
		if r, ok := c.request.(*pb.PutRequest); ok && r.IgnoreValue && len(r.Value) == 0 {
			return call{"Range", c.member, &pb.RangeRequest{Key: r.Key, CountOnly: true}}
		}
		return c
	}},
	"filters by creation are forgotten": {call: func(c call) call {
		if r, ok := c.request.(*pb.RangeRequest); ok && r.MaxCreateRevision != 0 {
			r = proto.Clone(r).(*pb.RangeRequest)
			r.MaxCreateRevision = 0
			c.request = r
		}
		return c
	}},
	"an empty answer to a branch is left out": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.TxnResponse); ok && len(r.Responses) > 1 {
			r.Responses = r.Responses[:len(r.Responses)-1]
		}
	}},
	"the streamed answer has a header in each chunk": {answer: func(_ call, m proto.Message) {
		if r, ok := m.(*pb.RangeStreamResponse); ok {
			r.RangeResponse.Header = nil
		}
	}},
}

// TestPlantedDifferencesAreFound shows that the test can fail, and that what it then prints is short.
func TestPlantedDifferencesAreFound(t *testing.T) {
	for name, fault := range planted {
		t.Run(name, func(t *testing.T) {
			findPlanted(t, fault, func(seed uint64) []call { return newGenerator(seed, 1).stream(100) })
		})
	}
}

func findPlanted(t *testing.T, fault tamper, streamOf func(seed uint64) []call) {
	t.Helper()
	p := sides(t, 1, servers.Etcd)
	p.peer.tamper = fault
	for s := uint64(1); s <= 20; s++ {
		d, err := p.run(t.Context(), streamOf(s))
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			continue
		}
		small := p.shrink(t.Context(), d, 200)
		t.Logf("seed %d, call %d, shrunk to:\n%s", s, len(d.stream), p.describe(small))
		if len(small.stream) > 4 {
			t.Errorf("a stream of %d calls should have been shrunk to 4 at most", len(small.stream))
		}
		return
	}
	t.Fatal("2,000 calls did not find it")
}
