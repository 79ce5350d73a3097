package server

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/balsadb/balsa/store"
)

// noWatchID is what a response has that is of no watcher, or of all of the stream.
const noWatchID = -1

// Why a watcher is not made, in etcd's words. They reach clients as reasons of cancellation, not as errors.
const (
	emptyWatchRange  = "mvcc: watcher range is empty"
	duplicateWatchID = "mvcc: duplicate watch ID provided on the WatchStream"
)

// watchOptions reads a request. No key is the least one. Filters that are not known filter nothing.
func watchOptions(r *pb.WatchCreateRequest) store.WatchOptions {
	key := r.GetKey()
	if len(key) == 0 {
		key = []byte{0}
	}
	return store.WatchOptions{
		Key: key, RangeEnd: r.GetRangeEnd(), Start: r.GetStartRevision(), PreviousKV: r.GetPrevKv(),
		NoPut:    slices.Contains(r.GetFilters(), pb.WatchCreateRequest_NOPUT),
		NoDelete: slices.Contains(r.GetFilters(), pb.WatchCreateRequest_NODELETE),
	}
}

// checkWatch returns why a watcher cannot be, or nothing. Of two reasons it is the one that etcd gives.
func checkWatch(o *store.WatchOptions) string {
	open := len(o.RangeEnd) == 0 || bytes.Equal(o.RangeEnd, []byte{0}) // one key, or all from the key on
	switch {
	case o.Start < 0:
		return rpctypes.ErrCompacted.Error()
	case !open && bytes.Compare(o.Key, o.RangeEnd) >= 0:
		return emptyWatchRange
	}
	return ""
}
