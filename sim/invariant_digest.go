package sim

import (
	"fmt"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/store"
)

// equalDigests: members that have applied equally much have the same state.
type equalDigests struct {
	tally
	at map[balsa.Index]digestAt
}

type digestAt struct {
	digest store.Digest
	member balsa.MemberID
}

func (*equalDigests) name() string { return "equal digests at equal indexes" }

func (e *equalDigests) restored(h *Host) error {
	digest, at := h.State.(*StoreState).Store.Digest()
	return e.compare(h, at.Index, digest)
}

func (e *equalDigests) applied(h *Host, batch *balsa.Batch) error {
	digest, at := h.State.(*StoreState).Store.Digest()
	if at != batch.Position {
		return fmt.Errorf("member %d applied up to %v, and its state is of %v", h.ID, batch.Position, at)
	}
	return e.compare(h, at.Index, digest)
}

func (e *equalDigests) compare(h *Host, index balsa.Index, digest store.Digest) error {
	known, is := e.at[index]
	if is && known.member != h.ID {
		e.judges()
	}
	switch {
	case !is:
		e.at[index] = digestAt{digest, h.ID}
	case known.digest != digest:
		return fmt.Errorf("at index %d member %d has the digest %v, and member %d %v", index, known.member, known.digest, h.ID, digest)
	}
	return nil
}
