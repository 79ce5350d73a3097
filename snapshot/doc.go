// Package snapshot is the state of a group as a file, and as a stream between hosts.
//
// It knows nothing of what the bytes mean. A state machine writes its state into a Writer, which cuts it into chunks with
// checksums, between a head that says whose state of which position it is and a foot that says how much there was. The
// same bytes are the file and what goes over the network:
//
//	state machine ─▶ Writer ─▶ bulk stream ─▶ Spool.Create, Part.Write ... Part.Commit ─▶ Spool.Open, File ─▶ state machine
//
// A Reader returns nothing that it has not verified, and io.EOF only where the foot was there and good: a part of a
// snapshot is never taken for the whole. A Spool keeps whole, verified, durable snapshots only; what was under way when
// the power went is removed at the next start.
//
// docs/formats-snapshot.md has the layout.
package snapshot
