package sim

import (
	"testing"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/raft"
)

// chatter bounces a number between two hosts' actors over the network, through mailboxes and turns.
type chatter struct {
	inbox actor.Mailbox[byte]
	heard []byte
	broke int
}

func (c *chatter) Received(_ raft.MemberID, frame []byte) { c.inbox.Post(frame[0]) }
func (c *chatter) ReceivedBulk(raft.MemberID, []byte)     {}
func (c *chatter) Connected(raft.MemberID)                { c.inbox.Post(0) }
func (c *chatter) Broken(raft.MemberID, bool)             { c.broke++ }

func chat(seed uint64, disturb func(*World, *Network)) (*World, [2]*chatter) {
	w := NewWorld(seed)
	n := NewNetwork(w)
	var both [2]*chatter
	members := raft.FirstConfiguration([]raft.Member{{ID: 1}, {ID: 2}})
	for i := range both {
		c := &chatter{}
		both[i] = c
		self, peer := raft.MemberID(i+1), raft.MemberID(2-i)
		l := newLife(self, &clock{since: w.now, at: w.now, rate: exactRate})
		t := n.Join(self, l, &members)
		c.inbox.Bind(hostScheduler{w, l}.Start("chatter", func(actor.Instant) actor.Instant {
			for _, b := range c.inbox.Take() {
				c.heard = append(c.heard, b)
				t.Send(peer, [][]byte{{b + 1}})
			}
			return actor.Never
		}))
		t.SetReceiver(c)
	}
	if disturb != nil {
		disturb(w, n)
	}
	w.Run(100 * time.Millisecond)
	return w, both
}

func TestSameSeedSameRun(t *testing.T) {
	a, heard := chat(7, nil)
	b, _ := chat(7, nil)
	c, _ := chat(8, nil)
	if len(heard[0].heard) < 50 {
		t.Fatalf("only %d messages were heard", len(heard[0].heard))
	}
	if a.TraceHash() != b.TraceHash() {
		t.Errorf("seed 7 gave traces %x and %x", a.TraceHash(), b.TraceHash())
	}
	if a.TraceHash() == c.TraceHash() {
		t.Error("seeds 7 and 8 gave the same trace")
	}
}

func TestCutSwallowsAndBreakIsTold(t *testing.T) {
	_, cut := chat(7, func(w *World, n *Network) { n.Cut(1, 2) })
	if len(cut[1].heard) > 1 || cut[1].broke > 0 {
		t.Errorf("over a cut link host 2 heard %v and was told of %d breaks", cut[1].heard, cut[1].broke)
	}
	_, broken := chat(7, func(w *World, n *Network) { w.After(50*time.Millisecond, func() { n.Break(1, 2) }) })
	if broken[0].broke == 0 || broken[1].broke == 0 {
		t.Errorf("a break was told %d and %d times", broken[0].broke, broken[1].broke)
	}
	if last := len(broken[0].heard); last < 60 {
		t.Errorf("after the break the conversation did not go on: %d heard", last)
	}
}
