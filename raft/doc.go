// Package raft is the Raft protocol, and nothing else: a pure, deterministic function of its inputs.
//
// It has no goroutine, lock, clock, file, socket or random source. Who drives it calls one input after the
// other, each with the current instant, then carries out what Output returns, and reports back:
//
//	        Propose  Read  Transfer                 Output:
//	clients ----------------------->  +--------+    .Messages ------> other members
//	                                  |        |    .Write ---------> the log's disk --> Persisted
//	other   Receive                   |  Raft  |    .Committed -----> state machine ---> Applied
//	members ----------------------->  |        |    .Fetches -------> the log's files -> Fetched
//	                                  |        |    .Reads ---------> whoever called Read
//	time    Tick (at Deadline)        |        |    .Leadership ----> whoever wants to know
//	        PeerConnected, PeerBroken |        |    .Snapshots -----> followers that need one --> SnapshotFailed
//	state   SnapshotOffered, Install  |        |
//	        Compact                   +--------+
//
// What Output returns may be carried out in any order and in parallel: what depends on a write is held back
// inside until Persisted, so that a leader's disk and its followers work at the same time and nobody can get an
// order wrong. Entries are bytes that were encoded once (Entry); they are shared, never copied, never changed.
//
// Same inputs, same outputs, on every machine. No input from a peer or a disk makes it panic; it panics with
// an *AssertionError where it finds that itself or its caller broke a rule.
//
// Where to find what: election.go, hint.go (who leads), replication.go (the leader's half), append.go (the
// follower's), commit.go, reads.go, transfer.go, durability.go (what waits for the disk), apply.go (what goes to the
// state machine), snapshot.go (logs that begin late), mending.go (logs that lost something), membership.go with change.go and configuration.go (who takes
// part), log.go with runs.go and cache.go, progress.go, quorum.go, dispatch.go (who handles what), role.go (the one place where roles change), invariants.go (what must hold).
package raft
