// Package wal is the log of a host: it makes the entries, terms and votes of all its groups durable, and finds them again.
//
//	log writer (one)                         anybody             anybody, one at a time
//	   Discard, Append → Sync → (Idle → Sync)   Read, Horizon       Prepare
//	      │                                      │                     │
//	      ▼                                      ▼                     ▼
//	  0007.wal ──► 0008.wal ──► 0009.wal      index in memory       0010.wal, 0008.dir: next, directory of a full one
//	  full         full         active        (sparse)              0006.wal: removed
//	        votes-0, votes-1: a second copy of all terms and votes
//
// Segments are preallocated files. A segment is a head and then batches: a batch header of this package's, and below it
// entry frames ([raft.Entry]) byte for byte as they were given. Append writes one batch for the writes of all groups;
// one Sync makes them all durable.
//
// # What is torn and what is corrupt
//
// A write that the power cut short and a record that has rotted look alike. What tells them apart is the mark: each batch
// says how far the log was durable when it was written. A bad batch that no mark covers was never acknowledged and
// is cut; one that a mark covers may have been acknowledged and is never cut: Open refuses with a [CorruptionError] that
// names file, bytes, and the entries, as the neighbouring records know them. recoveryTable has every case.
//
// Marks are in batches, in the heads of segments (for the segment before), and in the copies of the votes. The last batch has
// none behind it; so an idle log appends one ([Log.Idle]).
//
// # What is cut
//
// Discard raises a group's floor. Segments without an entry above a floor are removed once it is recorded and a mark proves it; a
// start checks that what is missing was given up. discard.go tells the steps, docs/decisions/0016-cutting-the-log.md the reasons.
//
// # Who may rely on what
//
// Sync returned: what was appended before is durable. Open returned: what it reports is durable, since it wrote again and synced
// what no mark covered. A failed write or sync ends the use of the log (ErrFailed); only a full disk that shows before
// anything is written refuses a write and leaves the log usable. docs/formats-wal.md has the formats and the limits of the proof.
package wal
