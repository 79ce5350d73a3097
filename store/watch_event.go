package store

import (
	"bytes"
	"context"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Event is one change of one key as watchers are told of it: encoded once, shared by all of them, never changed.
type Event struct {
	// Revision is the main revision of the change.
	Revision int64

	key     []byte
	deleted bool
	created bool
	encoded []byte // an element of pb.WatchResponse.Events, tag and length included
	// previous is the same with the pair before the change, nil until somebody has asked for it.
	previous atomic.Pointer[[]byte]
}

// Numbers of fields: of pb.WatchResponse, of mvccpb.Event, and of mvccpb.KeyValue.
const (
	eventsField = 11

	typeField     = 1
	kvField       = 2
	previousField = 3

	keyField     = 1
	createField  = 2
	modField     = 3
	versionField = 4
	valueField   = 5
	leaseField   = 6
)

// eventOverhead is what an event counts in a feed besides its encoded bytes.
const eventOverhead = 96

// Encoded returns the event as an element of pb.WatchResponse.Events, tag and length included. It is shared: do not
// change it.
func (e *Event) Encoded() []byte { return e.encoded }

// EncodedWithPrevious is Encoded with the pair as it was before the event's revision, where there was one, it was not
// compacted, and the event does not create the key. Feed.Next has made it for watchers that want it; without that it is Encoded.
func (e *Event) EncodedWithPrevious() []byte {
	if p := e.previous.Load(); p != nil {
		return *p
	}
	return e.encoded
}

func (e *Event) size() int64 { return int64(len(e.encoded)) + eventOverhead }

// newEvent makes an event of a change. It copies what it is given.
func newEvent(at revision, l *logged) *Event {
	kv := mvccpb.KeyValue{
		Key: l.key, Value: l.value, CreateRevision: l.created, ModRevision: at.main, Version: l.count, Lease: l.lease,
	}
	var typeSize int
	if l.tombstone {
		kv = mvccpb.KeyValue{Key: l.key, ModRevision: at.main}
		typeSize = protowire.SizeTag(typeField) + protowire.SizeVarint(uint64(mvccpb.Event_DELETE))
	}
	pair := sizeOfKeyValue(&kv)
	encoded := startEvent(typeSize + protowire.SizeTag(kvField) + protowire.SizeBytes(pair))
	if l.tombstone {
		encoded = protowire.AppendTag(encoded, typeField, protowire.VarintType)
		encoded = protowire.AppendVarint(encoded, uint64(mvccpb.Event_DELETE))
	}
	encoded = protowire.AppendTag(encoded, kvField, protowire.BytesType)
	encoded = protowire.AppendVarint(encoded, uint64(pair))
	encoded = appendKeyValue(encoded, &kv)
	// The key is in there, and wherever its bytes are found first they are its bytes.
	first := bytes.Index(encoded, l.key)
	return &Event{
		Revision: at.main, deleted: l.tombstone, created: !l.tombstone && l.created == at.main,
		encoded: encoded, key: encoded[first : first+len(l.key)],
	}
}

// startEvent begins an element of pb.WatchResponse.Events whose message has the given size.
func startEvent(size int) []byte {
	encoded := make([]byte, 0, protowire.SizeTag(eventsField)+protowire.SizeBytes(size))
	encoded = protowire.AppendTag(encoded, eventsField, protowire.BytesType)
	return protowire.AppendVarint(encoded, uint64(size))
}

// numbersOf returns the fields of a pair that are numbers, by their number in the message; 0 where they are not.
func numbersOf(kv *mvccpb.KeyValue) [leaseField + 1]int64 {
	return [...]int64{
		createField: kv.CreateRevision, modField: kv.ModRevision, versionField: kv.Version, leaseField: kv.Lease,
	}
}

func sizeOfKeyValue(kv *mvccpb.KeyValue) (size int) {
	for field, n := range numbersOf(kv) {
		if n != 0 {
			size += protowire.SizeTag(protowire.Number(field)) + protowire.SizeVarint(uint64(n))
		}
	}
	if len(kv.Key) > 0 {
		size += protowire.SizeTag(keyField) + protowire.SizeBytes(len(kv.Key))
	}
	if len(kv.Value) > 0 {
		size += protowire.SizeTag(valueField) + protowire.SizeBytes(len(kv.Value))
	}
	return size
}

// appendKeyValue encodes a pair as the protobuf library does: zero fields are left out, the others are in order.
func appendKeyValue(dst []byte, kv *mvccpb.KeyValue) []byte {
	appendBytes := func(field protowire.Number, value []byte) {
		if len(value) > 0 {
			dst = protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), value)
		}
	}
	appendBytes(keyField, kv.Key)
	for field, n := range numbersOf(kv) {
		if field == leaseField {
			appendBytes(valueField, kv.Value) // it comes before the lease
		}
		if n != 0 {
			dst = protowire.AppendTag(dst, protowire.Number(field), protowire.VarintType)
			dst = protowire.AppendVarint(dst, uint64(n))
		}
	}
	return dst
}

// setPrevious encodes the event together with the pair before it; nil is none.
func (e *Event) setPrevious(kv *mvccpb.KeyValue) {
	if kv == nil {
		e.previous.Store(&e.encoded)
		return
	}
	_, _, n := protowire.ConsumeTag(e.encoded)
	body, _ := protowire.ConsumeBytes(e.encoded[n:])
	pair := sizeOfKeyValue(kv)
	encoded := startEvent(len(body) + protowire.SizeTag(previousField) + protowire.SizeBytes(pair))
	encoded = append(encoded, body...)
	encoded = protowire.AppendTag(encoded, previousField, protowire.BytesType)
	encoded = protowire.AppendVarint(encoded, uint64(pair))
	encoded = appendKeyValue(encoded, kv)
	e.previous.Store(&encoded)
}

// loadPrevious makes what EncodedWithPrevious returns, for all events of watchers that want it. As in etcd, a pair
// that was compacted meanwhile is left out; and so is the pair before one that was deleted and created anew in the same
// revision: the event of the deletion has that.
func (s *Store) loadPrevious(ctx context.Context, deliveries []Delivery) (err error) {
	var now *state
	var v view
	for i := range deliveries {
		d := &deliveries[i]
		if d.Kind != DeliverEvents || !d.Watcher.options.PreviousKV {
			continue
		}
		for _, e := range d.Events {
			if e.created || e.previous.Load() != nil {
				continue
			}
			if now == nil {
				now = s.use()
				v = view{layout: s.layout, reader: now.engine}
				defer func() {
					if closing := v.close(); err == nil {
						err = closing
					}
					now.engine.leave()
				}()
			}
			if err := s.loadPreviousOf(&v, e); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (s *Store) loadPreviousOf(v *view, e *Event) error {
	f, ok, err := v.get(e.key, e.Revision-1)
	if err == nil && ok {
		err = v.load(&f)
	}
	compacted := e.Revision-1 < s.state.Load().compacted // garbage may have been missing then
	switch {
	case ok && err == nil && !compacted:
		e.setPrevious(f.keyValue())
	case err == nil || compacted:
		e.setPrevious(nil)
	default:
		return err
	}
	return nil
}
