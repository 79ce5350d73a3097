// Package bootstrap knows how a cluster begins: who its first members are, and which ids follow from that.
//
// All members are started with the same --initial-cluster and --initial-cluster-token and come to the same ids
// without a word to each other: a member's id is a hash of its sorted peer URLs and the token, the cluster's is a hash
// of its members' ids. Change a URL or the token, and it is another cluster.
package bootstrap

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/balsadb/balsa/raft"
)

// Cluster is the first membership of a cluster.
type Cluster struct {
	ID      uint64
	Members []Member // by id
}

// Member is one of the first members.
type Member struct {
	ID       raft.MemberID
	Name     string
	PeerURLs []string // sorted
}

// Parse reads the value of --initial-cluster: NAME=URL separated by commas, a name once for each of its URLs.
func Parse(initial, token string) (*Cluster, error) {
	urls := map[string][]string{}
	owner := map[string]string{}
	var names []string
	for part := range strings.SplitSeq(initial, ",") {
		name, address, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" || address == "" {
			return nil, fmt.Errorf("--initial-cluster: %q should be NAME=PEER-URL, such as m1=http://10.0.0.1:2380", part)
		}
		u, err := ParseURL(address)
		if err != nil {
			return nil, fmt.Errorf("--initial-cluster: member %s: %w", name, err)
		}
		if other, taken := owner[u.String()]; taken {
			return nil, fmt.Errorf("--initial-cluster: members %s and %s both have %s; each member needs an address of its own", other, name, u)
		}
		owner[u.String()] = name
		if urls[name] == nil {
			names = append(names, name)
		}
		urls[name] = append(urls[name], u.String())
	}
	c := &Cluster{}
	for _, name := range names {
		slices.Sort(urls[name])
		c.Members = append(c.Members, Member{memberID(urls[name], token), name, urls[name]})
	}
	slices.SortFunc(c.Members, func(a, b Member) int { return compare(a.ID, b.ID) })
	c.ID = clusterID(c.Members)
	return c, nil
}

// Named returns the member of a name, or nil.
func (c *Cluster) Named(name string) *Member {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Members[i]
}

// String writes the members as --initial-cluster has them.
func (c *Cluster) String() string {
	var parts []string
	for _, m := range c.Members {
		for _, u := range m.PeerURLs {
			parts = append(parts, m.Name+"="+u)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func compare(a, b raft.MemberID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func memberID(sorted []string, token string) raft.MemberID {
	h := sha256.New()
	for _, part := range append([]string{"balsa member", token}, sorted...) {
		binary.Write(h, binary.BigEndian, uint64(len(part))) // so that no two lists read alike
		h.Write([]byte(part))
	}
	return raft.MemberID(notZero(h.Sum(nil)))
}

func clusterID(members []Member) uint64 {
	h := sha256.New()
	h.Write([]byte("balsa cluster"))
	for _, m := range members {
		binary.Write(h, binary.BigEndian, uint64(m.ID))
	}
	return notZero(h.Sum(nil))
}

// Restored is the id of the cluster that has this one's members and begins with a state that origin identifies. Members that
// begin with different states must not agree on anything: each would count as applied what another has yet to hear of.
func (c *Cluster) Restored(origin uint64) uint64 {
	h := sha256.New()
	h.Write([]byte("balsa restored cluster"))
	binary.Write(h, binary.BigEndian, []uint64{c.ID, origin})
	return notZero(h.Sum(nil))
}

func notZero(sum []byte) uint64 { return max(1, binary.BigEndian.Uint64(sum)) }
