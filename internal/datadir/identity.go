package datadir

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/raft"
)

// format is the version of the directory's layout that this build writes and reads.
const format = 1

// requiresJoined says that the member joined a running cluster: a version that does not know of that would start it with the
// wrong members.
const requiresJoined = "joined"

// Identity says whose directory it is.
type Identity struct {
	Cluster bootstrap.Cluster
	Member  raft.MemberID
	Name    string
	ID      [16]byte // the directory's own: a copy or a wiped disk is told from the original
	// Origin is not 0 where the cluster began with a restored state: it says which. Cluster.ID is Cluster.Restored(Origin) then.
	Origin uint64
	// Life is the member's incarnation. Joined is, for a member that joined a running cluster, the configuration that it was told,
	// as raft encodes it; Cluster.Members are those of it then.
	Life   raft.Incarnation
	Joined []byte

	mend bool // one of the copies is not what counts
}

// record is the identity as it is in the file. Unknown fields are ignored; an unknown word in Requires is not.
type record struct {
	Format    int            `json:"format"`
	Requires  []string       `json:"requires,omitempty"`
	Cluster   string         `json:"cluster_id"`
	Member    string         `json:"member_id"`
	Directory string         `json:"directory_id"`
	Name      string         `json:"name"`
	Members   []memberRecord `json:"initial_members"`
	Origin    string         `json:"restored_from,omitempty"`
	Life      uint64         `json:"life,omitempty"`
	Joined    []byte         `json:"joined,omitempty"`
	// Checksum is the CRC-32C of the text with zeros in its place, in hexadecimal; builds before wrote none.
	Checksum string `json:"checksum,omitempty"`
}

type memberRecord struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peer_urls"`
}

func (id *Identity) encode() []byte {
	r := record{Format: format, Cluster: hex64(id.Cluster.ID), Member: hex64(uint64(id.Member)), Directory: uuid(id.ID), Name: id.Name,
		Life: uint64(id.Life), Joined: id.Joined}
	if id.Joined == nil {
		r.Life = 0 // the first one's; so the file is what an older version reads
	} else {
		r.Requires = append(r.Requires, requiresJoined)
	}
	if id.Origin != 0 {
		r.Origin = hex64(id.Origin)
	}
	for _, m := range id.Cluster.Members {
		r.Members = append(r.Members, memberRecord{hex64(uint64(m.ID)), m.Name, m.PeerURLs})
	}
	r.Checksum = noChecksum
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return seal(append(text, '\n'))
}

const noChecksum = "00000000"

// checksumField finds the checksum in a text.
var checksumField = regexp.MustCompile(`"checksum": "([0-9a-f]{8})"`)

// seal puts the checksum of a text into the place that was left for it, which is the last of that form: a name may look like one.
func seal(text []byte) []byte {
	all := checksumField.FindAllSubmatchIndex(text, -1)
	if len(all) == 0 {
		return text
	}
	at := all[len(all)-1]
	text = append([]byte{}, text...)
	copy(text[at[2]:at[3]], noChecksum)
	copy(text[at[2]:at[3]], fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))))
	return text
}

// sealed reports whether a text has a checksum, and it is right.
func sealed(text []byte) bool { return checksumField.Match(text) && bytes.Equal(seal(text), text) }

func decode(text []byte) (*Identity, error) {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("it cannot be read (%w); put it back from a backup, or start this member with an empty directory", err)
	}
	r.Requires = slices.DeleteFunc(r.Requires, func(word string) bool { return word == requiresJoined })
	if r.Format != format || len(r.Requires) > 0 {
		return nil, fmt.Errorf("it has format %d %v, and this version reads format %d; start it with the version that wrote it, or a later one",
			r.Format, r.Requires, format)
	}
	id := &Identity{Name: r.Name, Life: raft.Incarnation(max(r.Life, 1)), Joined: r.Joined}
	p := parser{}
	id.Cluster.ID = p.hex64("cluster_id", r.Cluster)
	id.Member = raft.MemberID(p.hex64("member_id", r.Member))
	id.ID = p.uuid("directory_id", r.Directory)
	if r.Origin != "" {
		id.Origin = p.hex64("restored_from", r.Origin)
	}
	for _, m := range r.Members {
		id.Cluster.Members = append(id.Cluster.Members,
			bootstrap.Member{ID: raft.MemberID(p.hex64("initial_members.id", m.ID)), Name: m.Name, PeerURLs: m.PeerURLs})
	}
	return id, p.err
}

// parser keeps the first error.
type parser struct{ err error }

func (p *parser) fail(field, text string) {
	if p.err == nil {
		p.err = fmt.Errorf("its %s %q cannot be read; put it back from a backup, or start this member with an empty directory", field, text)
	}
}

func (p *parser) hex64(field, text string) uint64 {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil || n == 0 {
		p.fail(field, text)
	}
	return n
}

func (p *parser) uuid(field, text string) (id [16]byte) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != len(id) {
		p.fail(field, text)
		return id
	}
	copy(id[:], raw)
	return id
}

func hex64(n uint64) string { return fmt.Sprintf("%016x", n) }

func uuid(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
