package raft

import (
	"testing"
	"time"
)

// A member that has never heard of a leader asks soon after it can reach somebody; one that has, or that has asked so
// before, waits out an election timeout. Seen to fail with askEarly doing nothing, and with unled never cleared.
func TestFirstQuestionComesEarly(t *testing.T) {
	const timeout = time.Second
	start := Instant(time.Hour)
	r, err := New(Config{
		Group: 1, Self: 1, Members: []Member{{ID: 1}, {ID: 2}, {ID: 3}},
		ElectionTimeout: timeout, HeartbeatInterval: timeout / 10, Random: func() uint64 { return 12345678 },
	}, Restored{}, start)
	if err != nil {
		t.Fatal(err)
	}
	if wait := time.Duration(r.Deadline() - start); wait < timeout {
		t.Fatalf("with nobody in reach it asks after %v", wait)
	}
	r.PeerConnected(start, 2)
	early := r.Deadline()
	if wait := time.Duration(early - start); wait < timeout/20 || wait > 3*timeout/20 {
		t.Fatalf("it asks %v after it could reach somebody", wait)
	}
	r.Tick(early)
	if n := len(r.Output().Messages); n != 2 {
		t.Fatalf("%d questions were sent, there are two others", n)
	}
	r.PeerConnected(early, 3)
	if wait := time.Duration(r.Deadline() - early); wait < timeout {
		t.Errorf("it asks again after %v", wait)
	}
}
