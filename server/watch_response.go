package server

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/balsadb/balsa/store"
)

// Numbers of the fields of pb.WatchResponse and pb.ResponseHeader.
const (
	watchHeaderField   = 1
	watchIDField       = 2
	watchFragmentField = 7
	revisionField      = 3
	termField          = 4
)

// copiedEvent is the size up to which an event is copied into its response; larger ones are referred to.
const copiedEvent = 1 << 10

// gatheredResponse is a message of the API that is encoded already, in pieces.
type gatheredResponse mem.BufferSlice

// eventResponse encodes a response with events, which were encoded when they happened, once for all who watch.
func (s *Server) eventResponse(id, revision int64, events [][]byte, fragment bool) gatheredResponse {
	header := s.encodeHeader(revision)
	head := protowire.SizeTag(watchHeaderField) + protowire.SizeBytes(len(header)) +
		protowire.SizeTag(watchIDField) + protowire.SizeVarint(uint64(id)) + protowire.SizeTag(watchFragmentField) + 1
	size := head
	for _, e := range events {
		if len(e) <= copiedEvent {
			size += len(e)
		}
	}
	rest := make([]byte, 0, size)
	rest = protowire.AppendTag(rest, watchHeaderField, protowire.BytesType)
	rest = protowire.AppendBytes(rest, header)
	if id != 0 {
		rest = protowire.AppendTag(rest, watchIDField, protowire.VarintType)
		rest = protowire.AppendVarint(rest, uint64(id))
	}
	if fragment {
		rest = protowire.AppendTag(rest, watchFragmentField, protowire.VarintType)
		rest = protowire.AppendVarint(rest, 1)
	}
	var response gatheredResponse
	for _, e := range events {
		if len(e) <= copiedEvent {
			rest = append(rest, e...)
			continue
		}
		if len(rest) > 0 {
			response = append(response, mem.SliceBuffer(rest))
		}
		response = append(response, mem.SliceBuffer(e))
		rest = rest[len(rest):]
	}
	if len(rest) > 0 {
		response = append(response, mem.SliceBuffer(rest))
	}
	return response
}

// encodeHeader encodes a header's fields.
func (s *Server) encodeHeader(revision int64) []byte {
	term := uint64(s.group.Leadership().Term)
	encoded := make([]byte, 0, len(s.identity)+2+2*10)
	encoded = append(encoded, s.identity...)
	encoded = protowire.AppendTag(encoded, revisionField, protowire.VarintType)
	encoded = protowire.AppendVarint(encoded, uint64(revision))
	encoded = protowire.AppendTag(encoded, termField, protowire.VarintType)
	return protowire.AppendVarint(encoded, term)
}

// controlResponse makes the response of a delivery that has no events.
func (s *Server) controlResponse(d *store.Delivery) *pb.WatchResponse {
	if d.Kind == store.DeliverNote {
		return d.Note.(*pb.WatchResponse)
	}
	response := &pb.WatchResponse{Header: s.identify(&pb.ResponseHeader{Revision: d.Revision}), WatchId: noWatchID}
	if d.Watcher != nil {
		response.WatchId = d.Watcher.Owner().(*streamWatcher).id
	}
	switch d.Kind {
	case store.DeliverCreated:
		response.Created = true
	case store.DeliverCanceled:
		response.Canceled = true
	case store.DeliverCompacted:
		response.Canceled, response.CompactRevision = true, d.Revision
		response.Header.Revision = 0 // as in etcd
	}
	return response
}
