// Package sim runs whole clusters of the production code in one thread, on virtual time, on a network and on
// disks that a seed makes misbehave. It has no copy of the runtime: hosts are balsa.Host values whose
// actors are scheduled here instead of on goroutines.
//
//	World ── picks the next turn or event, owns virtual time and all randomness
//	 ├─ hostScheduler   an actor.Scheduler for one life of one host; a crash drops it whole
//	 ├─ Network         a transport.Transport for each host: ordered streams that delay, break and lose
//	 └─ disks           vfs.Mem: what was not synced is at the mercy of the seed when the power goes
//
// A turn is instantaneous in what it reads and takes effect when its (virtual) time is over: what an actor
// posts or sends becomes visible only after the disk operations of that turn have had their time. A crash may come
// between any two disk operations of a turn, and between any two turns.
//
// The same seed gives the same run: compare World.TraceHash.
package sim
