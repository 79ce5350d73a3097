package datadir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// Peers is a transport.Register in a file of the data directory: what this member knows of the others, so that one whose disk was
// wiped, swapped or set back is recognized, after a restart of this one too (E21).
//
// Who comes is on disk before it is listened to. How far it is is noted at most once in notedEvery, and when the directory is closed: an older
// copy that is younger than that may be taken for the original where this member lost its power, too.
type Peers struct {
	fsys vfs.FS

	mu    sync.Mutex
	known map[raft.MemberID]transport.Acquaintance
	dirty bool
	saved time.Time
	now   func() time.Time
}

const (
	peersName  = "peers"
	notedEvery = 5 * time.Second
)

// The file, little endian, written anew each time:
//
//	 0  8    magic
//	 8  u32  CRC-32C of what follows, u32 records
//	16       records: u64 member, u64 life, 16 bytes data directory, u64 progress
const (
	peersHead   = 16
	peersRecord = 40
	maxPeers    = 1 << 14
)

var (
	peersMagic = [8]byte{'B', 'L', 'P', 'E', 'E', 'R', 'S', 1}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// OpenPeers reads the register of a directory; an empty one where there is none yet. now is a clock.
//
// A file that is damaged is put aside, and warning says so: what it knew is learned anew. Until then a member that was wiped in that very moment
// would be believed here, and only here.
func OpenPeers(fsys vfs.FS, now func() time.Time) (p *Peers, warning, err error) {
	p = &Peers{fsys: fsys, known: map[raft.MemberID]transport.Acquaintance{}, now: now}
	text, err := readAll(fsys, peersName)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the file %s, which says who the other members are: %w", peersName, err)
	}
	if warning = p.decode(text); warning != nil {
		clear(p.known)
		if err = fsys.Rename(peersName, peersName+".damaged"); err == nil {
			err = fsys.SyncDir(".")
		}
		warning = fmt.Errorf("the file %s, which says who the other members are, was damaged, and is put aside: %w", peersName, warning)
	}
	return p, warning, err
}

func (p *Peers) decode(b []byte) error {
	switch {
	case len(b) < peersHead || [8]byte(b) != peersMagic:
		return errors.New("it begins as no such file does")
	case crc32.Checksum(b[12:], castagnoli) != binary.LittleEndian.Uint32(b[8:]):
		return errors.New("its checksum is wrong")
	case int(binary.LittleEndian.Uint32(b[12:])) != (len(b)-peersHead)/peersRecord:
		return errors.New("its length is wrong")
	}
	for b = b[peersHead:]; len(b) >= peersRecord; b = b[peersRecord:] {
		a := transport.Acquaintance{Life: raft.Incarnation(binary.LittleEndian.Uint64(b[8:])), Progress: transport.Progress(binary.LittleEndian.Uint64(b[32:]))}
		copy(a.DataDir[:], b[16:])
		p.known[raft.MemberID(binary.LittleEndian.Uint64(b))] = a
	}
	return nil
}

func (p *Peers) encode() []byte {
	b := append(peersMagic[:8:8], 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.known)))
	for _, id := range slices.Sorted(maps.Keys(p.known)) {
		a := p.known[id]
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
		b = binary.LittleEndian.AppendUint64(b, uint64(a.Life))
		b = append(b, a.DataDir[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(a.Progress))
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	return b
}

// Recall implements transport.Register.
func (p *Peers) Recall(member raft.MemberID) (transport.Acquaintance, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, met := p.known[member]
	return a, met
}

// Remember implements transport.Register.
func (p *Peers) Remember(member raft.MemberID, now transport.Acquaintance, durable bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, met := p.known[member]
	if !met && len(p.known) >= maxPeers {
		return fmt.Errorf("%d members are known already", maxPeers)
	}
	p.dirty = p.dirty || !met || was != now
	p.known[member] = now
	if !durable && (!p.dirty || p.now().Sub(p.saved) < notedEvery) {
		return nil
	}
	err := p.save()
	if err != nil && durable {
		if p.known[member] = was; !met {
			delete(p.known, member)
		}
	}
	return err
}

func (p *Peers) save() error {
	p.saved = p.now() // of attempts, too: a disk that is full is not asked with each message
	if err := replace(p.fsys, peersName, peersName+".new", p.encode()); err != nil {
		return err
	}
	p.dirty = false
	return nil
}

// Close notes what is known on disk. The register may be used afterwards.
func (p *Peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty {
		return nil
	}
	return p.save()
}
