package transport

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/balsadb/balsa/raft"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// event is one call of a Receiver.
type event struct {
	what    string // "connected", "broken", "received", "bulk"
	peer    raft.MemberID
	refused bool
	frame   []byte
}

func (e event) String() string {
	switch e.what {
	case "broken":
		return fmt.Sprintf("broken %d refused=%v", e.peer, e.refused)
	case "received", "bulk":
		return fmt.Sprintf("%s: %d bytes from %d", e.what, len(e.frame), e.peer)
	}
	return fmt.Sprintf("%s %d", e.what, e.peer)
}

// recorder is a Receiver that hands its calls to the test. Its channel is large enough that it never blocks, save
// where a test stalls it.
type recorder struct {
	t      *testing.T
	events chan event
	bulk   chan event                    // what ReceivedBulk was told
	stall  atomic.Pointer[chan struct{}] // while there is one, Received waits until it is closed
	// stallBulk is the same for ReceivedBulk.
	stallBulk atomic.Pointer[chan struct{}]
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, events: make(chan event, 1<<16), bulk: make(chan event, 1<<16)}
}

func (r *recorder) Connected(peer raft.MemberID) { r.events <- event{what: "connected", peer: peer} }

func (r *recorder) Broken(peer raft.MemberID, refused bool) {
	r.events <- event{what: "broken", peer: peer, refused: refused}
}

func (r *recorder) Received(from raft.MemberID, frame []byte) {
	if stall := r.stall.Load(); stall != nil {
		<-*stall
	}
	r.events <- event{what: "received", peer: from, frame: frame}
}

func (r *recorder) ReceivedBulk(from raft.MemberID, frame []byte) {
	if stall := r.stallBulk.Load(); stall != nil {
		<-*stall
	}
	r.bulk <- event{what: "bulk", peer: from, frame: frame}
}

// nextBulk returns the next frame of the bulk lane.
func (r *recorder) nextBulk() event {
	r.t.Helper()
	select {
	case e := <-r.bulk:
		return e
	case <-r.t.Context().Done():
		r.t.Fatal("the test ended while it waited for bulk")
	}
	return event{}
}

// await skips events until one of the kind about the peer, and returns it.
func (r *recorder) await(what string, peer raft.MemberID) event {
	r.t.Helper()
	for {
		select {
		case e := <-r.events:
			if e.what == what && e.peer == peer {
				return e
			}
		case <-r.t.Context().Done():
			r.t.Fatalf("the test ended while it waited for %q of member %d", what, peer)
		}
	}
}

// next returns the next event, whatever it is.
func (r *recorder) next() event {
	r.t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-r.t.Context().Done():
		r.t.Fatal("the test ended while it waited for an event")
	}
	return event{}
}

// network is what the conformance test needs of an implementation.
type network interface {
	// join starts a member's transport; all members of one network know each other.
	join(self raft.MemberID, r Receiver) Transport
	// sever ends the connections between two members.
	sever(a, b raft.MemberID)
	// severBulk does so on the bulk lane, and returns when the ends know.
	severBulk(a, b raft.MemberID)
}

type memoryNetwork struct{ *Memory }

func (n memoryNetwork) join(self raft.MemberID, r Receiver) Transport {
	e := n.Join(self)
	e.SetReceiver(r)
	return e
}

func (n memoryNetwork) sever(a, b raft.MemberID)     { n.Break(a, b) }
func (n memoryNetwork) severBulk(a, b raft.MemberID) { n.BreakBulk(a, b) }

func TestMemoryConforms(t *testing.T) {
	conformance(t, func(_ *testing.T, limits Limits) network { return memoryNetwork{NewMemory(limits)} })
}

func conformance(t *testing.T, open func(*testing.T, Limits) network) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T, Limits) network)
	}{
		{"FramesArriveWholeAndInOrder", conformOrder},
		{"FramesOfAllSizes", conformSizes},
		{"BothDirectionsAtOnce", conformBothWays},
		{"NothingIsSentWithoutAConnection", conformUnconnected},
		{"AFullQueueDropsAndSaysSo", conformFull},
		{"TooLargeAFrameIsDroppedAlone", conformTooLarge},
		{"ABreakLosesASuffixAndBothAreTold", conformBreak},
		{"AProcessThatIsGoneRefuses", conformGone},
		{"AMemberComesBack", conformComeBack},
		{"CloseEndsTheCalls", conformClose},
		{"BulkArrivesWholeAndInOrder", conformBulkOrder},
		{"BulkDelaysNoMessage", conformBulkApart},
		{"AFullBulkQueueDropsAndSaysSo", conformBulkFull},
		{"ABulkLaneThatBreaksIsNotTold", conformBulkBreak},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// numbered returns a frame, in two parts, that says which one it is; size is its length, at least 8.
func numbered(n uint64, size int) [][]byte {
	head, tail := make([]byte, 8), make([]byte, size-8)
	binary.LittleEndian.PutUint64(head, n)
	for i := range tail {
		tail[i] = byte(n) + byte(i)
	}
	return [][]byte{head, tail}
}

// number checks that a frame is whole and returns which one it is.
func number(t *testing.T, frame []byte) uint64 {
	t.Helper()
	if len(frame) < 8 {
		t.Fatalf("a frame of %d bytes", len(frame))
	}
	n := binary.LittleEndian.Uint64(frame)
	for i, b := range frame[8:] {
		if b != byte(n)+byte(i) {
			t.Fatalf("byte %d of frame %d was changed", i+8, n)
		}
	}
	return n
}

func pair(t *testing.T, n network) (a, b Transport, atA, atB *recorder) {
	atA, atB = newRecorder(t), newRecorder(t)
	a, b = n.join(1, atA), n.join(2, atB)
	t.Cleanup(func() { closeAll(t, a, b) })
	atA.await("connected", 2)
	atB.await("connected", 1)
	return a, b, atA, atB
}

func closeAll(t *testing.T, transports ...Transport) {
	for _, tr := range transports {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func conformOrder(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{}))
	const frames = 5000
	for i := range uint64(frames) {
		if !a.Send(2, numbered(i, 8+int(i%300))) {
			t.Fatalf("frame %d was dropped", i)
		}
	}
	for i := range uint64(frames) {
		if got := number(t, atB.await("received", 1).frame); got != i {
			t.Fatalf("frame %d arrived in place of %d", got, i)
		}
	}
}

func conformSizes(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{}))
	for i, size := range []int{8, 9, 511, 4096, 32 << 10, 32<<10 + 1, 1 << 20, 5<<20 + 3} {
		if !a.Send(2, numbered(uint64(i), size)) {
			t.Fatalf("%d bytes were dropped", size)
		}
		frame := atB.await("received", 1).frame
		if number(t, frame) != uint64(i) || len(frame) != size {
			t.Fatalf("%d bytes arrived as %d", size, len(frame))
		}
		if cap(frame) != size {
			t.Errorf("a frame of %d bytes pins %d", size, cap(frame))
		}
	}
	if !a.Send(2, nil) || len(atB.await("received", 1).frame) != 0 {
		t.Error("an empty frame did not arrive")
	}
	many := make([][]byte, 3000) // more parts than one gathered write takes
	for i := range many {
		many[i] = []byte{byte(i)}
	}
	a.Send(2, many)
	for i, b := range atB.await("received", 1).frame {
		if b != byte(i) {
			t.Fatalf("part %d of a frame of many arrived as %d", i, b)
		}
	}
}

func conformBothWays(t *testing.T, open func(*testing.T, Limits) network) {
	a, b, atA, atB := pair(t, open(t, Limits{}))
	done := make(chan struct{})
	flood := func(from Transport, to raft.MemberID) {
		for i := range uint64(500) {
			from.Send(to, numbered(i, 100))
		}
		done <- struct{}{}
	}
	go flood(a, 2)
	go flood(b, 1)
	<-done
	<-done
	for i := range uint64(500) {
		if got := number(t, atB.await("received", 1).frame); got != i {
			t.Fatalf("at 2: frame %d in place of %d", got, i)
		}
		if got := number(t, atA.await("received", 2).frame); got != i {
			t.Fatalf("at 1: frame %d in place of %d", got, i)
		}
	}
}

func conformUnconnected(t *testing.T, open func(*testing.T, Limits) network) {
	a := open(t, Limits{}).join(1, newRecorder(t))
	defer closeAll(t, a)
	for _, to := range []raft.MemberID{1, 2, 9} {
		if a.Send(to, numbered(1, 8)) {
			t.Errorf("a frame for member %d was taken", to)
		}
	}
}

func conformFull(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{QueueBytes: 1 << 20, QueueFrames: 100}))
	stalled := make(chan struct{})
	atB.stall.Store(&stalled)
	release := sync.OnceFunc(func() { close(stalled) })
	defer release()
	taken := uint64(0)
	for a.Send(2, numbered(taken, 64<<10)) { // sockets take some before the queue fills
		taken++
		if taken > 1000 {
			t.Fatal("64 MB are waiting, the bound is 1 MiB")
		}
	}
	release()
	for i := range taken {
		if got := number(t, atB.await("received", 1).frame); got != i {
			t.Fatalf("frame %d arrived in place of %d", got, i)
		}
	}
	for !a.Send(2, numbered(taken, 8)) { // the queue has room as soon as the sender has noticed
	}
	if got := number(t, atB.await("received", 1).frame); got != taken {
		t.Errorf("frame %d arrived after the queue had been full, want %d", got, taken)
	}
}

func conformTooLarge(t *testing.T, open func(*testing.T, Limits) network) {
	a, _, _, atB := pair(t, open(t, Limits{FrameBytes: 1000}))
	a.Send(2, numbered(1, 1000))
	if a.Send(2, numbered(2, 1001)) {
		t.Error("a frame beyond the limit was taken")
	}
	a.Send(2, numbered(3, 10))
	for _, want := range []uint64{1, 3} {
		e := atB.next()
		if e.what != "received" || number(t, e.frame) != want {
			t.Fatalf("%v, want frame %d", e, want)
		}
	}
}

func conformBreak(t *testing.T, open func(*testing.T, Limits) network) {
	n := open(t, Limits{})
	a, _, atA, atB := pair(t, n)
	for i := range uint64(1000) {
		a.Send(2, numbered(i, 200))
	}
	n.sever(1, 2)
	if e := atA.await("broken", 2); e.refused {
		t.Error("the other's host was said to refuse, its process lives")
	}
	atA.await("connected", 2)
	if !a.Send(2, numbered(5000, 200)) {
		t.Fatal("a frame was dropped although the peer was said to be connected")
	}
	next, broken := uint64(0), false
	for {
		e := atB.next()
		switch {
		case e.what == "broken":
			broken = true
		case e.what != "received":
		case number(t, e.frame) == 5000:
			if !broken {
				t.Error("a frame of the new connection came before the old one was said to be broken")
			}
			return
		case number(t, e.frame) != next:
			t.Fatalf("frame %d in place of %d", number(t, e.frame), next)
		default:
			next++
			broken = false // what broke before was the connection of the other direction
		}
	}
}

func conformGone(t *testing.T, open func(*testing.T, Limits) network) {
	_, b, atA, _ := pair(t, open(t, Limits{}))
	closeAll(t, b)
	if e := atA.await("broken", 2); !e.refused {
		t.Error("nobody listens at the peer's address any more, and it was not said to refuse")
	}
}

func conformComeBack(t *testing.T, open func(*testing.T, Limits) network) {
	n := open(t, Limits{})
	a, b, atA, _ := pair(t, n)
	closeAll(t, b)
	atA.await("broken", 2)
	again := newRecorder(t)
	b = n.join(2, again)
	defer closeAll(t, b)
	atA.await("connected", 2)
	again.await("connected", 1)
	a.Send(2, numbered(1, 10))
	b.Send(1, numbered(2, 10))
	if number(t, again.await("received", 1).frame) != 1 || number(t, atA.await("received", 2).frame) != 2 {
		t.Error("frames went astray")
	}
}

func conformClose(t *testing.T, open func(*testing.T, Limits) network) {
	a, b, _, atB := pair(t, open(t, Limits{}))
	for i := range uint64(100) {
		a.Send(2, numbered(i, 100))
	}
	closeAll(t, b)
	for len(atB.events) > 0 {
		<-atB.events
	}
	for i := range uint64(100) {
		a.Send(2, numbered(i, 100))
	}
	if b.Send(1, numbered(1, 8)) {
		t.Error("a closed transport took a frame")
	}
	closeAll(t, b, a)
	if len(atB.events) > 0 {
		t.Errorf("%v was told after Close had returned", <-atB.events)
	}
}
