package transport

import (
	"encoding/hex"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// Identity is who a host says that it is. Both ends of every connection prove to mean the same cluster and each other.
type Identity struct {
	Cluster uint64
	Member  raft.MemberID
	// Life counts the member's joinings; an earlier one is refused once a later one was seen.
	Life raft.Incarnation
	// DataDir names the data directory. A member that comes back in the same life with another one has lost what
	// it had promised, and is refused.
	DataDir [16]byte
}

func (id Identity) dataDir() string { return hex.EncodeToString(id.DataDir[:]) }

func memberName(id raft.MemberID) string { return fmt.Sprintf("member %x", uint64(id)) }
