package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// views returns what three sound members say that have no leader; change alters one answer.
func views(change func(answers []endpointStatus)) []endpointStatus {
	var seats []seatStatus
	for i := range 3 {
		seats = append(seats, seatStatus{Name: fmt.Sprint("m", i+1), Member: fmt.Sprint(i + 1), Votes: true, PeerURLs: []string{fmt.Sprint("http://h", i+1)}})
	}
	var answers []endpointStatus
	for i := range 3 {
		s := &memberStatus{Name: seats[i].Name, Member: seats[i].Member, Cluster: "c", Role: "follower", Term: 4, Seats: seats, ElectionTimeout: 1000}
		for j := range 3 {
			if i != j {
				s.Links = append(s.Links, linkStatus{Name: seats[j].Name, Member: seats[j].Member, Connected: true, Receiving: true, RoundTrip: 1})
			}
		}
		answers = append(answers, endpointStatus{Endpoint: "h" + s.Member, Status: s})
	}
	change(answers)
	return answers
}

func silence(a *endpointStatus) { a.Status, a.Error = nil, "connection refused" }

// Each thing that can stand in the way of an election is named, with what to do about it.
func TestWhyNoLeader(t *testing.T) {
	cut := func(v *memberStatus, member, trouble string, connected, receiving bool) {
		l := v.link(member)
		l.Connected, l.Receiving, l.Trouble = connected, receiving, trouble
	}
	for name, c := range map[string]struct {
		change    func([]endpointStatus)
		why, does string
		leads     bool
	}{
		"there is one": {func(a []endpointStatus) {
			a[1].Status.Role, a[0].Status.Leader, a[1].Status.Leader, a[2].Status.Leader = "leader", "m2", "m2", "m2"
		}, "there is a leader: m2, in term 4", "", true},
		"nobody answers": {func(a []endpointStatus) { silence(&a[0]); silence(&a[1]); silence(&a[2]) }, "no member answered", "balsa doctor", false},
		"a majority is down": {func(a []endpointStatus) {
			silence(&a[0])
			silence(&a[1])
			cut(a[2].Status, "1", "refused", false, false)
			cut(a[2].Status, "2", "refused", false, false)
		}, "1 of the 3 members that vote can take part, and an election needs 2", "balsa recover", false},
		"out of our reach only": {func(a []endpointStatus) { silence(&a[0]) }, "m1 did not answer (m2 is connected to it|m1 did not answer (m3 is connected to it", "", false},
		"one-way cuts": {func(a []endpointStatus) {
			for i := range a {
				for j := range a[i].Status.Links {
					a[i].Status.Links[j].Receiving = false
				}
			}
		}, "m1 reaches m2, and hears nothing from it", "in both directions", false},
		"a stalled disk":       {func(a []endpointStatus) { a[0].Status.Last = 9 }, "m1 has 9 entries that its disk has not made durable yet", "", false},
		"elections too short":  {func(a []endpointStatus) { a[0].Status.Links[0].RoundTrip = 400 }, "the round trip from m1 to m2 takes 400.0 ms", "--election-timeout of at least 4000 ms", false},
		"other configurations": {func(a []endpointStatus) { a[2].Status.Configuration = 7 }, "m1 acts by the members of index 0, m3 by those of index 7", "", false},
		"other clusters":       {func(a []endpointStatus) { a[2].Status.Cluster, a[2].Status.Configuration = "d", 7 }, "belongs to another cluster", "--initial-cluster", false},
		"wiped members": {func(a []endpointStatus) {
			a[0].Status.Fault, a[1].Status.Fault = "its disk was wiped: balsa rejoin", "its disk was wiped: balsa rejoin"
		}, "m1 takes part in nothing: its disk was wiped", "on m1: balsa rejoin", false},
		"members that repair": {func(a []endpointStatus) {
			a[0].Status.Troubles = []trouble{{Kind: "state", Text: "it is being rebuilt", Remedy: "wait"}}
		}, "m1 has trouble (state): it is being rebuilt", "m1: wait", false},
		"an election under way": {func(a []endpointStatus) { a[0].Status.Role, a[0].Status.Campaigns = "candidate", 3 }, "m1 is candidate of term 4 with a log up to 0, after 0 rounds of pre-votes and 3 campaigns", "ask again", false},
	} {
		d := diagnose(views(c.change))
		why, does := strings.Join(d.Why, "\n"), strings.Join(d.Do, "\n")
		found := false
		for text := range strings.SplitSeq(c.why, "|") {
			found = found || strings.Contains(why, text)
		}
		if !found || !strings.Contains(does, c.does) || (d.Leader != "") != c.leads {
			t.Errorf("%s: leader %q\n%s\ndo: %s", name, d.Leader, why, does)
		}
	}
}

// One of three is left, and says so without a leader.
func TestWhyNoLeaderOfRealMembers(t *testing.T) {
	t.Parallel()
	c := threeMembers(t)
	o := runToEnd(t, program(t, "balsa", "why-no-leader", "--endpoints="+c.members[0].endpoint)) // the others are found by what they published
	if o.code != 0 || !strings.Contains(o.stdout, "there is a leader") {
		t.Errorf("with a leader: %+v", o)
	}
	c.members[1].kill()
	c.members[2].kill()
	o = runToEnd(t, program(t, "balsa", "why-no-leader", "--endpoints="+c.members[0].endpoint, "--timeout=20s"))
	for end := 0; o.code == 0 && end < 100; end++ { // until the leader has noticed
		o = runToEnd(t, program(t, "balsa", "why-no-leader", "--endpoints="+c.members[0].endpoint, "--timeout=20s"))
	}
	if o.code != exitError || !strings.Contains(o.stdout, "1 of the 3 members that vote can take part, and an election needs 2") || !strings.Contains(o.stdout, "balsa recover") {
		t.Errorf("without a majority: %+v", o)
	}
	o = runToEnd(t, program(t, "balsa", "doctor", "--endpoints="+c.members[0].endpoint+","+c.members[1].endpoint, "--timeout=20s"))
	if o.code != exitError || !strings.Contains(o.stdout, "FAILING") || !strings.Contains(o.stdout, "leader") || !strings.Contains(o.stdout, "connection refused") {
		t.Errorf("doctor: %+v", o)
	}
	dir := filepath.Join(c.dir, c.members[1].name)
	if o = runToEnd(t, program(t, "balsa", "doctor", "--data-dir="+dir)); o.code != 0 || !strings.Contains(o.stdout, "identity") {
		t.Errorf("doctor of a directory: %+v", o)
	}
	for _, name := range []string{"identity.json", "identity.json.copy"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if o = runToEnd(t, program(t, "balsa", "doctor", "--data-dir="+dir)); o.code != exitError || !strings.Contains(o.stdout, "FAILING") {
		t.Errorf("doctor of a damaged directory: %+v", o)
	}
}
