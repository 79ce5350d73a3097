package raft

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// isQuorum is the rule as the paper says it: in a joint configuration majorities of both.
func isQuorum(c *Configuration, have map[MemberID]bool) bool {
	voters, votes, former, formerVotes := 0, 0, 0, 0
	for _, s := range c.Seats {
		if s.Role == Voter {
			voters++
			if have[s.ID] {
				votes++
			}
		}
		if s.Former {
			former++
			if have[s.ID] {
				formerVotes++
			}
		}
	}
	return 2*votes > voters && (!c.Joint || 2*formerVotes > former)
}

// drawPeers draws members in all roles with a value and a ballot each.
func drawPeers(t *rapid.T) (c Configuration, peers []*progress) {
	c.Joint = rapid.Bool().Draw(t, "joint")
	for id := MemberID(1); id <= MemberID(rapid.IntRange(1, 9).Draw(t, "members")); id++ {
		s := Seat{Member: Member{ID: id, Life: 1}, Role: SeatRole(rapid.IntRange(1, 3).Draw(t, "role"))}
		s.Former = c.Joint && (s.Role == Leaving || rapid.Bool().Draw(t, "former"))
		if !c.Joint && s.Role == Leaving || id == 1 {
			s.Role, s.Former = Voter, c.Joint
		}
		c.Seats, c.Lives = append(c.Seats, s), 1
		peers = append(peers, &progress{
			Member: s.Member, voter: s.Role == Voter, former: s.Former,
			match: Index(rapid.IntRange(0, 4).Draw(t, "match")), ballot: ballot(rapid.IntRange(0, 2).Draw(t, "ballot")),
			broken: rapid.Bool().Draw(t, "broken"),
		})
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return c, peers
}

// A value counts as reached exactly where those who have it are a quorum, of both majorities in a joint configuration. Learners, and
// who has left, never count (E36).
func TestAgreedAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, peers := drawPeers(t)
		want := Index(0)
		for value := Index(0); value <= 5; value++ {
			have := map[MemberID]bool{}
			for _, p := range peers {
				have[p.ID] = p.match >= value
			}
			if isQuorum(&c, have) {
				want = value
			}
		}
		if got := agreed(peers, c.Joint, func(p *progress) Index { return p.match }); got != want {
			t.Fatalf("%d is reached, want %d: %s", got, want, describeConfiguration(&c))
		}
	})
}

func TestAgreedAllocatesNothing(t *testing.T) {
	var peers []*progress
	for id := MemberID(1); id <= 16; id++ {
		peers = append(peers, &progress{Member: Member{ID: id}, voter: true, former: true, match: Index(id)})
	}
	if n := testing.AllocsPerRun(100, func() {
		if agreed(peers, true, func(p *progress) Index { return p.match }) != 8 {
			t.Fatal("not the median")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A campaign is won exactly where those who granted are a quorum, and lost exactly where those who may still grant are none.
func TestJointBallotsAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, peers := drawPeers(t)
		r := &Raft{peers: peers, members: membership{joint: c.Joint}}
		grants, hopes := map[MemberID]bool{}, map[MemberID]bool{}
		for _, p := range peers {
			grants[p.ID] = p.ballot == granted
			hopes[p.ID] = p.ballot == granted || p.ballot == unanswered && !p.broken
		}
		want := undecided
		if isQuorum(&c, grants) {
			want = won
		} else if !isQuorum(&c, hopes) {
			want = lost
		}
		if got := r.ballots(); got != want {
			t.Fatalf("verdict %d, want %d: %s", got, want, describeConfiguration(&c))
		}
	})
}

// Whatever changes are asked for: a configuration and the joint one that follows, and that one and the one it leads to, have no two
// quorums without a common voter; ids and incarnations are never used again; what is encoded is decoded.
func TestChangesKeepQuorumsTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var first []Member
		for id := MemberID(1); id <= MemberID(rapid.IntRange(1, 4).Draw(t, "voters")); id++ {
			first = append(first, Member{ID: id, Life: 1})
		}
		c := FirstConfiguration(first)
		lives := map[MemberID]Incarnation{}
		for range 6 {
			var changes []Change
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				changes = append(changes, Change{
					Kind: ChangeKind(rapid.IntRange(1, 6).Draw(t, "kind")), Member: MemberID(rapid.IntRange(0, 6).Draw(t, "member")),
					Address: rapid.StringN(0, 5, 10).Draw(t, "address"),
				})
			}
			next, err := c.Change(changes...)
			if err != nil {
				continue
			}
			checkOverlap(t, &c, &next)
			after := next
			if next.Joint {
				after = next.left()
				checkOverlap(t, &next, &after)
			} else if a, b := votersOf(&c), votersOf(&next); fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("without a joint configuration from voters %v to %v", a, b)
			}
			for _, step := range []*Configuration{&next, &after} {
				checkCodec(t, step)
				for _, s := range step.Seats {
					if life, seen := lives[s.ID]; seen && life != s.Life || c.WasRemoved(s.ID) {
						t.Fatalf("member %d has life %d after %d, and was removed: %v", s.ID, s.Life, life, c.WasRemoved(s.ID))
					}
					lives[s.ID] = s.Life
				}
			}
			c = after
		}
	})
}

func votersOf(c *Configuration) (ids []MemberID) {
	for _, s := range c.Seats {
		if s.Role == Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func checkOverlap(t *rapid.T, a, b *Configuration) {
	ids := map[MemberID]bool{}
	for _, c := range []*Configuration{a, b} {
		for _, s := range c.Seats {
			if s.votes() {
				ids[s.ID] = true
			}
		}
	}
	var all []MemberID
	for id := MemberID(0); id < 10; id++ {
		if ids[id] {
			all = append(all, id)
		}
	}
	for bits := range 1 << len(all) {
		one, rest := map[MemberID]bool{}, map[MemberID]bool{}
		for i, id := range all {
			one[id], rest[id] = bits>>i&1 == 1, bits>>i&1 == 0
		}
		if isQuorum(a, one) && isQuorum(b, rest) {
			t.Fatalf("%v decide in %s, and the others in %s", one, describeConfiguration(a), describeConfiguration(b))
		}
	}
}

func checkCodec(t *rapid.T, c *Configuration) {
	back, err := DecodeConfiguration(c.Encode())
	if err != nil || fmt.Sprint(back) != fmt.Sprint(*c) {
		t.Fatalf("%+v is decoded as %+v, %v", *c, back, err)
	}
}

// No bytes make the decoder panic, and what it takes can be used.
func FuzzDecodeConfiguration(f *testing.F) {
	c := FirstConfiguration([]Member{{1, 1}, {2, 1}})
	next, _ := c.Change(Change{Kind: AddMember, Member: 3, Address: "http://a:1"}, Change{Kind: Remove, Member: 2})
	f.Add(c.Encode())
	f.Add(next.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeConfiguration(b)
		if err != nil {
			if !errors.Is(err, ErrBadConfiguration) {
				t.Error(err)
			}
			return
		}
		if _, err := DecodeConfiguration(c.Encode()); err != nil {
			t.Error(err)
		}
	})
}

// TestRandomMembership is TestRandomCluster with members that come and go. What is committed must be on a quorum of the configuration
// in force, and in the end there must be a leader, and all who have a seat must have all.
func TestRandomMembership(t *testing.T) {
	var sum tally
	for seed := range *seeds {
		c := newChaos(t, *firstSeed+uint64(seed), []int{1, 2, 3, 3, 4})
		c.weights[actChange] = 10 + c.rng.IntN(60)
		c.run(*stepsPerSeed, &sum)
	}
	t.Logf("%+v", sum)
	if n := *seeds; sum.committed < 10*n || sum.leaders < n || sum.changes < 2*n || sum.joint < n/2 || sum.joined < n {
		t.Errorf("too little happened in %d runs: %+v", n, sum)
	}
}

// actChange asks a leader for a change of membership, or starts a member that has a seat.
func (c *chaos) actChange() {
	if c.rng.IntN(3) == 0 {
		c.joinNext()
		return
	}
	var leader *member
	for _, m := range c.members {
		if m.raft != nil && m.raft.role == Leader && (leader == nil || c.rng.IntN(2) == 0) {
			leader = m
		}
	}
	if leader == nil {
		return
	}
	current := leader.raft.Membership()
	var changes []Change
	for range 1 + c.rng.IntN(2) {
		change := Change{Kind: ChangeKind(1 + c.rng.IntN(6)), Member: current.Seats[c.rng.IntN(len(current.Seats))].ID}
		if change.Kind <= AddLearner {
			if change.Member = MemberID(len(c.members) + 1); len(c.members) == maxChaos || current.Seat(change.Member) != nil {
				continue
			}
		}
		changes = append(changes, change)
	}
	if _, err := leader.raft.ChangeMembers(c.now, current.Index, c.rng.IntN(2) == 0, changes...); err == nil {
		c.changes++
		if leader.raft.members.joint {
			c.joint++
		}
	}
}

// joinNext starts the next member, if somebody knows it to have a seat by a committed configuration.
func (c *chaos) joinNext() {
	for _, m := range c.members {
		if m.raft == nil {
			continue
		}
		if s := m.raft.members.history[0]; s.Seat(MemberID(len(c.members)+1)) != nil {
			c.joined++
			c.handed[c.join(MemberID(len(c.members)+1), m).raft] = 0
			return
		}
	}
}

// joinAll starts everybody who has a seat.
func (c *chaos) joinAll() {
	for before := 0; before < len(c.members); {
		before = len(c.members)
		c.joinNext()
	}
}

// settled reports whether a leader's configuration is the last one, for now.
func (c *chaos) settled(leader *member) bool {
	c.joinAll()
	s := leader.raft.Membership()
	if !s.Committed || s.Joint || s.Seat(leader.id) == nil {
		return false
	}
	for i := range s.Seats {
		if s.Seats[i].Promote || int(s.Seats[i].ID) > len(c.members) {
			return false
		}
	}
	return true
}

// groupWithout3 returns a world of three in which member 3 was removed, and knows it.
func groupWithout3(t *testing.T) *world {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	if _, err := leader.raft.ChangeMembers(w.now, 0, false, Change{Kind: Remove, Member: 3}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if m := w.member(3).raft.Membership(); !m.Committed || m.Seat(3) != nil {
		t.Fatalf("member 3 was not told: %+v", m)
	}
	return w
}

// Who has no vote does not campaign, however long it hears nothing: neither who was removed (E35), nor a learner (E36).
func TestE35E36WhoHasNoVoteDoesNotCampaign(t *testing.T) {
	w := groupWithout3(t)
	leader := w.member(1)
	if _, err := leader.raft.ChangeMembers(w.now, leader.raft.Membership().Index, false, Change{Kind: AddLearner, Member: 4}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.join(4, leader)
	w.pass(testHeartbeat)
	for _, id := range []MemberID{3, 4} {
		w.isolate(id)
	}
	w.pass(10 * testElection)
	for _, id := range []MemberID{3, 4} {
		if r := w.member(id).raft; r.counts.PreCampaigns > 0 || r.role != Follower {
			t.Errorf("member %d has asked for votes %d times", id, r.counts.PreCampaigns)
		}
	}
}

// A member that is known to be removed is given no vote, and disturbs nobody: not even by a campaign that it says the leader wants (E35).
func TestE35RemovedMembersAreNotHeard(t *testing.T) {
	w := groupWithout3(t)
	for _, id := range []MemberID{1, 2} {
		to := w.member(id)
		term, dropped := to.raft.hard.Term, to.raft.counts.Dropped
		for _, m := range []Message{
			&RequestVote{Term: term + 5, Last: Position{99, term}, Transfer: true},
			&PreVoteRequest{Term: term, NextTerm: term + 5, Last: Position{99, term}},
		} {
			if said := w.receive(to, 3, m); len(said) > 0 {
				t.Errorf("member %d answers %T", id, m)
			}
		}
		if to.raft.hard.Term != term || to.raft.counts.Dropped != dropped+2 {
			t.Errorf("member %d is in term %d, was in %d, and has dropped %d", id, to.raft.hard.Term, term, to.raft.counts.Dropped-dropped)
		}
	}
}

// A voter answers a candidate that it does not know yet: its configuration may be the later one (E36).
func TestE36ACandidateThatIsNotKnownYetIsAnswered(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	m := w.member(2)
	said := w.receive(m, 7, &RequestVote{Term: 5, Last: Position{0, 0}})
	w.persist(m, len(m.pending))
	said = append(said, w.said(m)...)
	if votes := only[*VoteResponse](said); len(votes) != 1 || !votes[0].Granted {
		t.Errorf("it says %v", said)
	}
	if said := w.receive(m, 7, &AppendResponse{Term: 5, Match: 3}); len(said) > 0 {
		t.Errorf("it answers what only a member can say: %v", said)
	}
}
