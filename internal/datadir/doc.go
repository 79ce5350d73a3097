// Package datadir is a member's data directory: whose it is, and who may use it.
//
//	LOCK             held by the process that uses the directory
//	identity.json    format, cluster, member, the directory's own id, and the cluster's first members; identity.json.copy is the same again
//	wal/             the replicated log
//	state/           the store
//
// The directory is looked at before anything is changed in it. What belongs to another cluster, another member, another
// version or another program is refused and left as it is.
package datadir

const (
	lockName     = "LOCK"
	identityName = "identity.json"
	newName      = "identity.json.new"
	// LogDir and StateDir are the names of the directories below.
	LogDir   = "wal"
	StateDir = "state"
)
