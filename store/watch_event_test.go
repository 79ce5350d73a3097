package store

import (
	"context"
	"testing"

	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestPreviousOfAKeyThatIsMadeAnew: where one revision deletes a key and creates it again, the deletion's event has the
// pair before it, and the creation's has none, whether it is live or read from the log.
func TestPreviousOfAKeyThatIsMadeAnew(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	woken := false
	feed := f.store.NewFeed(func() { woken = true })
	watch := func(start int64) {
		if _, err := feed.Watch(WatchOptions{Key: []byte("a"), Start: start, PreviousKV: true}); err != nil {
			t.Fatal(err)
		}
	}
	watch(0)
	f.put("a", "1")
	anew := &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}},
		putOp("a", "2"),
	}}
	if _, err := f.txn(anew); err != nil {
		t.Fatal(err)
	}
	f.put("a", "3")
	f.store.DispatchEvents()
	watch(2)
	previous := map[*Watcher][]string{}
	for more := true; more || woken; {
		woken = false
		var deliveries []Delivery
		var err error
		if deliveries, more, err = feed.Next(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i := range deliveries {
			for _, e := range deliveries[i].Events {
				w := deliveries[i].Watcher
				previous[w] = append(previous[w], string(decodeEvent(t, e, true).PrevKv.GetValue()))
			}
		}
	}
	for w, got := range previous {
		if want := [4]string{"", "1", "", "2"}; len(got) != len(want) || [4]string(got) != want {
			t.Errorf("from revision %d: the previous values are %q, want %q", w.options.Start, got, want)
		}
	}
	if len(previous) != 2 {
		t.Errorf("%d watchers were told, want 2", len(previous))
	}
}
