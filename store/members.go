package store

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// members is what members have published of themselves, sorted by id. It is never changed, only replaced.
type members []member

type member struct {
	attributes *pb.Member
	record     []byte // as it was published
}

func decodeMember(record []byte) (member, error) {
	m := member{&pb.Member{}, bytes.Clone(record)}
	return m, proto.Unmarshal(record, m.attributes)
}

func (m members) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(m, id, func(m member, id uint64) int { return cmp.Compare(m.attributes.ID, id) })
}

// publish executes a KindMember command. The record is the request itself.
func (e *execution) publish(request []byte) error {
	m, err := decodeMember(request)
	if err != nil {
		return wrapMalformed(err)
	}
	at, exists := e.members.find(m.attributes.ID)
	next := slices.Clone(e.members)
	if exists {
		e.published.remove(e.hasher.member(&e.members[at]))
		next[at] = m
	} else {
		next = slices.Insert(next, at, m)
	}
	e.published.add(e.hasher.member(&m))
	e.batch.Set(e.memberKey(m.attributes.ID), m.record)
	e.members = next
	return nil
}

func (h *hasher) member(m *member) Digest {
	h.start(recordMember)
	h.number(m.attributes.ID)
	h.bytes(m.record)
	return h.sum()
}

// loadMembers reads the members' records.
func loadMembers(reader engine.Reader, l layout) (members, error) {
	i, err := reader.NewIterator(l.single(spaceMember), l.single(spaceMember+1))
	if err != nil {
		return nil, err
	}
	defer i.Close()
	var all members
	for ok := i.First(); ok; ok = i.Next() {
		m, err := decodeMember(i.Value())
		if err != nil {
			return nil, fmt.Errorf("%w: member record %q: %w", errCorrupt, i.Key(), err)
		}
		all = append(all, m)
	}
	return all, i.Error()
}
