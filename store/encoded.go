package store

import "github.com/balsadb/balsa/raft"

// NewPut returns the entry of a put whose request is there in encoded form, of the given size: the caller writes it
// into request, which is a part of the entry, and seals the entry. The request must hold the fields of pb.PutRequest and
// nothing else; what came from elsewhere and is not known to do so goes through EncodePut.
func NewPut(size int) (entry raft.Entry, request []byte) {
	entry = raft.NewEntry(raft.EntryNormal, commandHeader+size)
	payload := entry.Payload()
	payload[0], payload[1] = byte(KindPut), commandVersion
	return entry, payload[commandHeader:]
}

// EncodedResponse returns the response in a result of Apply as it was encoded, its header with the revision alone
// first, or one of rpctypes' errors. It aliases the result.
func EncodedResponse(result []byte) ([]byte, error) {
	if err := resultError(result); err != nil {
		return nil, err
	}
	return result[1:], nil
}
