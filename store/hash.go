package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// HashKV returns a hash of all versions up to a revision (the current one where it is 0 or less) that a compaction
// at the compact revision retains, and the two revisions. Members answer alike where these are the same, however
// far each has come beyond, and whatever it has removed. The number is not etcd's.
func (s *Store) HashKV(ctx context.Context, requested int64) (hash uint32, compacted, hashed int64, err error) {
	err = s.readSnapshot(func(v *view, now moment) error {
		hashed, compacted = requested, now.compacted
		switch {
		case hashed <= 0:
			hashed = now.revision
		case hashed < now.compacted:
			return rpctypes.ErrGRPCCompacted
		case hashed > now.revision:
			return rpctypes.ErrGRPCFutureRev
		}
		sum, err := v.sum(ctx, now.compacted, hashed)
		hash = sum.digest.fold()
		return err
	})
	return hash, compacted, hashed, err
}

// Hash returns a hash of everything that members agree on at the current revision.
func (s *Store) Hash(ctx context.Context) (hash uint32, revision int64, err error) {
	state := s.state.Load()
	hash, _, revision, err = s.HashKV(ctx, 0)
	return hash ^ state.published.fold(), revision, err
}

func (d Digest) fold() uint32 {
	return uint32(d.A) ^ uint32(d.A>>32) ^ uint32(d.B) ^ uint32(d.B>>32)
}

// sum adds up the versions up to revision rev that a compaction at the given revision retains, from the index.
func (v *view) sum(ctx context.Context, compacted, rev int64) (total tally, err error) {
	var h hasher
	var current []byte // the key whose versions are being walked over
	var older bool     // one at or below the compact revision was met
	err = v.walkIndex(ctx, func(name []byte, version *version) error {
		if string(name) != string(current) || current == nil {
			current, older = append(current[:0], name...), false
		}
		if version.at.main > rev || !version.retained(compacted, older) {
			older = older || version.at.main <= compacted
			return nil
		}
		older = older || version.at.main <= compacted
		total.add(tally{version.size(name), h.version(name, version)})
		return nil
	})
	return total, err
}

// retained reports whether a compaction keeps a version. older says whether a newer version of the key is at or
// below the compact revision too.
func (v *version) retained(compacted int64, older bool) bool {
	return v.at.main >= compacted || !older && !v.tombstone
}

// walkIndex calls visit for every version in the engine: keys in order, of each the newest first.
func (v *view) walkIndex(ctx context.Context, visit func(name []byte, version *version) error) error {
	if err := v.open(); err != nil {
		return err
	}
	n := 0
	for ok := v.index.First(); ok; ok = v.index.Next() {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		version, name, err := v.currentVersion()
		if err != nil {
			return err
		}
		if err := visit(name, &version); err != nil {
			return err
		}
	}
	return v.index.Error()
}
