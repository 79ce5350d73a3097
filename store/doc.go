// Package store is etcd's key-value model as a replicated state machine: every key has all its versions since the
// last compaction, every change has a revision, and reads answer as of a revision.
//
//	server ── Encode* ──▶ the replicated log ──▶ Apply ──▶ engine
//	   └──── Range, ReadTxn, RangeChunks, HashKV ◀───────────┘
//
// Apply is deterministic: the same commands give the same state, the same results and the same digest on every
// replica. Everything that one batch changes, and the position in the log that it brings the state to, reaches the
// engine in one step, so that after a crash the two agree.
//
// Keys and their index live in the engine. The store keeps a few counters and the members in memory, and the
// memory of a read is bounded by its answer. docs/data-model.md has the layout.
package store
