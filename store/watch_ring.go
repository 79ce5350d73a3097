package store

// happened is the events of one revision.
type happened struct {
	revision int64
	events   []*Event
	bytes    int64
}

// ring holds what was dispatched last: an unbroken row of revisions that ends with the last dispatched one.
type ring struct {
	rows  []*happened
	bytes int64
}

func (r *ring) clear() { *r = ring{} }

// add adds the next revision, and forgets the oldest ones where there are more bytes than are allowed.
func (r *ring) add(h *happened, bound int64) {
	r.rows = append(r.rows, h)
	r.bytes += h.bytes
	for r.bytes > bound {
		r.bytes -= r.rows[0].bytes
		r.rows[0] = nil
		r.rows = r.rows[1:]
	}
}

// from returns the rows from a revision on.
func (r *ring) from(revision int64) []*happened {
	if len(r.rows) == 0 {
		return nil
	}
	return r.rows[max(0, revision-r.rows[0].revision):]
}

// first returns the first revision of an unbroken row up to the last dispatched one, which is given.
func (r *ring) first(dispatched int64) int64 {
	if len(r.rows) == 0 {
		return dispatched + 1
	}
	return r.rows[0].revision
}
