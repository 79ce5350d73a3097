package transport

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/balsadb/balsa/raft"
)

// TestEachRefusalHasItsReason has one row for each reason for which a hello is refused.
func TestEachRefusalHasItsReason(t *testing.T) {
	for _, row := range []struct {
		reason Reason
		text   string
		change func(*hello)
	}{
		{accepted, "", func(*hello) {}},
		{ReasonVersion, "versions 7 to 8, this member 1 to 2", func(h *hello) { h.lowest, h.highest = 7, 8 }},
		{ReasonFeatures, "you require features 0x10", func(h *hello) { h.required = 16 }},
		{ReasonCluster, "you belong to cluster 4e, this member to 4d", func(h *hello) { h.Cluster = 78 }},
		{ReasonWrongMember, "this is member 2, not member 3", func(h *hello) { h.to = 3 }},
		{ReasonSameMember, "this is member 2 too", func(h *hello) { h.Member = 2 }},
		{ReasonUnknownMember, "member 9 is not a member", func(h *hello) { h.Member = 9 }},
		{ReasonEarlierLife, "joined again since (life 1, you are life 0)", func(h *hello) { h.Life = 0 }},
		{ReasonDataDir, "its disk was wiped or swapped", func(h *hello) { h.DataDir[0] = 99 }},
		{ReasonStream, "streams of kind 4", func(h *hello) { h.stream = 4 }},
		{ReasonStream, "answers no questions", func(h *hello) { h.stream = streamInquiry }},
		{accepted, "", func(h *hello) { h.stream = streamBulk }},
		{ReasonCluster, "you belong to cluster 4e", func(h *hello) { h.stream, h.Cluster = streamBulk, 78 }},
		{ReasonUnknownMember, "member 9 is not a member", func(h *hello) { h.stream, h.Member = streamBulk, 9 }},
		{ReasonEarlierLife, "joined again since", func(h *hello) { h.stream, h.Life = streamBulk, 0 }},
		{ReasonDataDir, "its disk was wiped or swapped", func(h *hello) { h.stream, h.DataDir[0] = streamBulk, 99 }},
	} {
		t.Run(row.reason.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newPipes()
				b, _, log := n.member(t, 2, []raft.MemberID{1}, nil)
				first, _ := n.say(t, address(2), helloOf(testIdentity(1), 2)) // so that 2 has met 1
				defer first.Close()
				h := helloOf(testIdentity(1), 2)
				row.change(&h)
				for range 3 {
					conn, a := n.say(t, address(2), h)
					defer conn.Close()
					if a.reason != row.reason || !strings.Contains(a.text, row.text) {
						t.Errorf("%v: %q, want %v: %q", a.reason, a.text, row.reason, row.text)
					}
				}
				synctest.Wait()
				refusals, lines := uint64(3), 1
				if row.reason == accepted {
					refusals, lines = 0, 0
				}
				if got := b.Stats().Refused; got != refusals {
					t.Errorf("%d refusals are counted, want %d", got, refusals)
				}
				if got := log.count("refused a peer"); got != lines {
					t.Errorf("it was logged %d times, want %d", got, lines)
				}
			})
		})
	}
}

// TestADialledPeerIsJudgedToo has one row for each reason for which an answer is not what a member wants to hear.
func TestADialledPeerIsJudgedToo(t *testing.T) {
	for _, row := range []struct {
		name, text string
		change     func(*answer)
	}{
		{"refused by the peer", "refused by the peer: go away", func(a *answer) { a.reason, a.text = ReasonUnknownMember, "go away" }},
		{"refused by a later build", "refused by the peer: for a reason of the future", func(a *answer) { a.reason, a.text = 99, "for a reason of the future" }},
		{"version", "peer protocol's versions 7 to 8", func(a *answer) { a.lowest, a.highest = 7, 8 }},
		{"version chosen", "it chose protocol version 7", func(a *answer) { a.version = 7 }},
		{"features", "you require features 0x10", func(a *answer) { a.required = 16 }},
		{"cluster", "it belongs to cluster 4e, this member to 4d", func(a *answer) { a.Cluster = 78 }},
		{"another member", "it is member 3, not member 2", func(a *answer) { a.Member = 3 }},
		{"earlier life", "joined again since", func(a *answer) { a.Life = 0 }},
		{"data directory", "its disk was wiped or swapped", func(a *answer) { a.DataDir[0] = 99 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, answers := newPipes(), 0
				conns := n.listenRaw(t, address(2), func(hello) answer {
					a := answer{card: card{dialect: ours, Identity: testIdentity(2)}, version: 1}
					if answers++; answers > 1 { // the first time all is well, so that 1 has met 2
						row.change(&a)
					}
					return a
				})
				a, atA, log := n.member(t, 1, []raft.MemberID{2}, nil)
				atA.await("connected", 2)
				_ = (<-conns).Close()
				if e := atA.await("broken", 2); e.refused {
					t.Error("the host was said to refuse, but it answered")
				}
				pass(time.Minute)
				s := a.Stats()
				if !strings.Contains(s.Peers[0].Trouble, row.text) {
					t.Errorf("trouble %q, want %q", s.Peers[0].Trouble, row.text)
				}
				if s.Refused < 20 || s.Refused > 100 {
					t.Errorf("%d attempts in a minute", s.Refused)
				}
				if got := log.count("cannot connect"); got != 1 {
					t.Errorf("it was logged %d times, want once", got)
				}
				if len(atA.events) > 0 {
					t.Errorf("%v was told of a peer that is refused", <-atA.events)
				}
			})
		})
	}
}

func TestALaterLifeReplacesAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		_, atB, _ := n.member(t, 2, []raft.MemberID{1}, nil)
		conn, _ := n.say(t, address(2), helloOf(testIdentity(1), 2))
		defer conn.Close()
		id := testIdentity(1)
		id.Life, id.DataDir = 2, [16]byte{99}
		again, a := n.say(t, address(2), helloOf(id, 2))
		defer again.Close()
		if a.reason != accepted {
			t.Errorf("a member that joined again was refused: %s", a.text)
		}
		atB.await("broken", 1)
	})
}

func TestARefusedMemberIsTakenOnceItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		_, atA, log := n.member(t, 1, []raft.MemberID{2}, nil)
		b, atB, _ := n.member(t, 2, nil, nil)
		pass(10 * time.Second)
		if len(atA.events)+len(atB.events) > 0 {
			t.Fatal("members that do not both know each other were connected")
		}
		if err := b.AddPeer(1, []string{"http://" + address(1)}); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		atB.await("connected", 1)
		atA.await("connected", 2)
		if waited := time.Since(before); waited > 10*time.Millisecond {
			t.Errorf("1 was dialled by 2, and yet dialled back only after %v", waited)
		}
		if log.count("is not a member of this cluster") != 1 {
			t.Error("1 was not told once why it was refused")
		}
	})
}
