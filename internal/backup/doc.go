// Package backup is a backup as a file: who made it of what, the snapshot of a state, and a checksum of everything.
//
//	server ─▶ Write ─▶ Maintenance.Snapshot ─▶ a file (by balsa backup, or etcdctl snapshot save)
//	file   ─▶ Open ─▶ Reader ─▶ store
//
// It knows nothing of what the state is. Who reads one may count on what he has read only once End has said that all of it
// was there. docs/formats-snapshot.md has the layout, docs/decisions/0021-backups.md the reasons.
package backup
