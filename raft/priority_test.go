package raft

import (
	"testing"
	"time"
)

// A reluctant member waits longer than any other, and then campaigns all the same; who is alone has nobody to wait for.
func TestReluctanceDelaysAndNeverVetoes(t *testing.T) {
	members := []Member{{ID: 1, Life: 1}, {ID: 2, Life: 1}, {ID: 3, Life: 1}}
	for name, c := range map[string]struct {
		members     []Member
		reluctance  time.Duration
		early, late time.Duration // the campaign begins between them
	}{
		"eager":     {members, 0, time.Second, 2 * time.Second},
		"reluctant": {members, time.Second, 2 * time.Second, 3 * time.Second},
		"alone":     {members[:1], time.Second, 0, 0},
	} {
		for seed := range uint64(50) {
			r, err := New(Config{
				Group: 1, Self: 1, Members: c.members, ElectionTimeout: time.Second, HeartbeatInterval: 100 * time.Millisecond,
				Reluctance: c.reluctance, Random: func() uint64 { return seed * 0x9e3779b97f4a7c15 },
			}, Restored{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if at := time.Duration(r.election.at); at < c.early || at > c.late {
				t.Fatalf("%s: it campaigns after %v, want %v to %v", name, at, c.early, c.late)
			}
			r.Tick(r.Deadline())
			if r.role == Follower {
				t.Fatalf("%s: it does not campaign", name)
			}
		}
	}
	// The hint that the leader's process is gone does not get round it.
	r, _ := New(Config{
		Group: 1, Self: 1, Members: members, ElectionTimeout: time.Second, HeartbeatInterval: 100 * time.Millisecond,
		Reluctance: time.Second, Random: func() uint64 { return 7 },
	}, Restored{}, 0)
	r.Receive(1, Envelope{Group: 1, From: 2, To: 1, FromLife: 1, ToLife: 1, Message: &AppendEntries{Term: 1}})
	if r.leader != 2 {
		t.Fatal("the leader was not heard")
	}
	r.PeerBroken(2, 2, true)
	if at := time.Duration(r.election.hint.at); at < time.Second || at > 2*time.Second {
		t.Errorf("after the leader's end it asks after %v", at)
	}
	if _, err := New(Config{
		Group: 1, Self: 1, Members: members, ElectionTimeout: time.Second, HeartbeatInterval: 100 * time.Millisecond,
		Reluctance: 3 * time.Second, Random: func() uint64 { return 7 },
	}, Restored{}, 0); err == nil {
		t.Error("a reluctance that is a veto was taken")
	}
}
