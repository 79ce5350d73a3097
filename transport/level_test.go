package transport

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/balsadb/balsa/raft"
)

// TestWhoSpeaksLessThanTheClusterIsRefused: hosts learn what others speak when they meet; those of the build before go on while the
// cluster is of its level, and are refused from then on, as members and with questions before they are members.
func TestWhoSpeaksLessThanTheClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipes()
		old := func(c *TCPConfig) { c.Level = raft.FirstLevel }
		a, atA, log := n.member(t, 1, []raft.MemberID{2, 3}, nil)
		_, atB, _ := n.member(t, 2, []raft.MemberID{1, 3}, nil)
		c, atC, _ := n.member(t, 3, []raft.MemberID{1, 2}, old)
		atA.await("connected", 3)
		atB.await("connected", 3)
		atC.await("connected", 1)
		synctest.Wait()
		if two, three, none := a.PeerLevel(2), a.PeerLevel(3), a.PeerLevel(9); two != raft.BuildLevel || three != raft.FirstLevel || none != 0 {
			t.Errorf("member 2 speaks %d, member 3 %d, nobody %d", two, three, none)
		}
		a.SetLevel(raft.FirstLevel)
		if a.speaks().lowest != uint16(raft.FirstLevel) {
			t.Error("the first level shuts somebody out")
		}
		a.SetLevel(raft.BuildLevel)
		a.SetLevel(raft.FirstLevel) // it never falls
		closeAll(t, c)
		atA.await("broken", 3)
		hello := helloOf(testIdentity(3), 1)
		hello.dialect = ours.upTo(raft.FirstLevel)
		if _, answer := n.say(t, address(1), hello); answer.reason != ReasonVersion || !strings.Contains(answer.text, "upgrade the older one") {
			t.Errorf("an old member is told %v, %q", answer.reason, answer.text)
		}
		hello.stream, hello.rest = streamInquiry, []byte("who am I?")
		if _, answer := n.say(t, address(1), hello); answer.reason != ReasonVersion {
			t.Errorf("somebody who is to join with an old build is told %v", answer.reason)
		}
		if log.count("upgrade the older one") == 0 {
			t.Error("it is not logged whom the cluster has left behind")
		}
	})
}
