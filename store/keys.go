package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/balsadb/balsa/engine"
)

// The spaces of a group's keys; docs/data-model.md describes what is in them.
const (
	spaceMember  = 'a'
	spaceAlarm   = 'b'
	spaceCollect = 'c'
	spaceAttach  = 'k'
	spaceLease   = 'l'
	spaceMeta    = 'm'
	spaceCensus  = 'n'
	spaceLog     = 'r'
	spaceRuntime = 's'
	spaceIndex   = engine.Versioned
)

// versionSize is the length of an index key's version: main and sub, inverted so that newer ones sort first.
const versionSize = 12

// logKeySize is the length of a key of the revision log.
const logKeySize = engine.HeaderSize + 12

// revision is a place in the history: all changes of one command have the same main, and count their subs from 0.
type revision struct {
	main int64
	sub  uint32
}

// lastOf is greater than or equal to every revision with the given main.
func lastOf(main int64) revision { return revision{main, math.MaxUint32} }

// layout makes the keys of one group.
type layout struct{ group uint64 }

// groupSize is the length of the group in a key. Snapshots have keys without it.
const groupSize = engine.HeaderSize - 1

// all returns the bounds of all keys of the group; the upper one is nil where no group follows.
func (l layout) all() (lower, upper []byte) {
	if l.group < math.MaxUint64 {
		upper = binary.BigEndian.AppendUint64(nil, l.group+1)
	}
	return binary.BigEndian.AppendUint64(nil, l.group), upper
}

func (l layout) single(space byte) []byte { return engine.AppendHeader(nil, l.group, space) }

// appendName appends the prefix of the index keys of a user's key.
func (l layout) appendName(dst, key []byte) []byte {
	return engine.AppendName(engine.AppendHeader(dst, l.group, spaceIndex), key)
}

// appendVersion makes an index prefix a whole index key.
func appendVersion(dst []byte, at revision) []byte {
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(at.main))
	return binary.BigEndian.AppendUint32(dst, ^at.sub)
}

// cutIndexKey returns what an index key is about. The name aliases key or buffer.
func cutIndexKey(buffer, key []byte) (name []byte, at revision, err error) {
	if len(key) <= engine.HeaderSize {
		return nil, revision{}, fmt.Errorf("%w: index key %q is too short", errCorrupt, key)
	}
	name, version, err := engine.CutName(buffer, key[engine.HeaderSize:])
	if err != nil {
		return nil, revision{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if len(version) != versionSize {
		return nil, revision{}, fmt.Errorf("%w: index key %q has a version of %d bytes", errCorrupt, key, len(version))
	}
	at.main = int64(^binary.BigEndian.Uint64(version))
	at.sub = ^binary.BigEndian.Uint32(version[8:])
	return name, at, nil
}

// indexEnd is greater than all index keys of the group.
func (l layout) indexEnd() []byte { return l.single(spaceIndex + 1) }

// appendLogKey appends a key of the revision log.
func (l layout) appendLogKey(dst []byte, at revision) []byte {
	dst = engine.AppendHeader(dst, l.group, spaceLog)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.main))
	return binary.BigEndian.AppendUint32(dst, at.sub)
}

func cutLogKey(key []byte) (revision, error) {
	if len(key) != logKeySize {
		return revision{}, fmt.Errorf("%w: revision log key %q has %d bytes", errCorrupt, key, len(key))
	}
	return revision{
		main: int64(binary.BigEndian.Uint64(key[engine.HeaderSize:])),
		sub:  binary.BigEndian.Uint32(key[engine.HeaderSize+8:]),
	}, nil
}

func (l layout) memberKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64(l.single(spaceMember), id)
}

// appendLeaseKey appends the key of a lease's record. The record of the lease clock has the space alone.
func (l layout) appendLeaseKey(dst []byte, id int64) []byte {
	return binary.BigEndian.AppendUint64(engine.AppendHeader(dst, l.group, spaceLease), uint64(id))
}

func cutLeaseKey(key []byte) (id int64, err error) {
	if len(key) != engine.HeaderSize+8 {
		return 0, fmt.Errorf("%w: lease key %q has %d bytes", errCorrupt, key, len(key))
	}
	return int64(binary.BigEndian.Uint64(key[engine.HeaderSize:])), nil
}

// appendAttachment appends the key that says that a user's key is attached to a lease; without one, the prefix of them all.
func (l layout) appendAttachment(dst []byte, lease int64, key []byte) []byte {
	dst = engine.AppendHeader(dst, l.group, spaceAttach)
	return append(binary.BigEndian.AppendUint64(dst, uint64(lease)), key...)
}

// attachmentsEnd is greater than all attachments to a lease, and not than those to the next.
func (l layout) attachmentsEnd(lease int64) []byte {
	if uint64(lease) == math.MaxUint64 {
		return l.single(spaceAttach + 1)
	}
	return l.appendAttachment(nil, lease+1, nil)
}

// cutAttachment returns what an attachment is about. The key aliases the argument.
func cutAttachment(key []byte) (lease int64, name []byte, err error) {
	if len(key) <= engine.HeaderSize+8 {
		return 0, nil, fmt.Errorf("%w: attachment %q has %d bytes", errCorrupt, key, len(key))
	}
	return int64(binary.BigEndian.Uint64(key[engine.HeaderSize:])), key[engine.HeaderSize+8:], nil
}
