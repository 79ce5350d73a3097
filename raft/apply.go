package raft

// applying is what is known of the way of committed entries to the state machine.
type applying struct {
	handed  Index // the last one handed out
	applied Index // the last one that the state machine has
	queue   []handout
	bytes   int // handed out, not applied
	// fetching: entries that are not in memory were asked for. They come into fetched. Where they could not be read,
	// retryAt is when to ask again.
	fetching Fetch
	fetched  []Entry
	retryAt  Instant
	// lost: the state machine has no state. Nothing is handed out until it is given one (Install).
	lost bool
}

type handout struct {
	last  Index
	bytes int
}

func (a *applying) start(applied Index) { a.handed, a.applied = applied, applied }

// installed notes that the state machine was given everything up to index at once. What was handed out below
// that is not waited for.
func (a *applying) installed(index Index) {
	if index > a.handed {
		a.handed = index
		a.fetching, a.fetched = Fetch{}, nil
	}
	a.done(index)
}

// LoseState says that the state machine's state is of no use any more: it holds nothing, whatever was said to be applied. Log and vote
// are sound. Nothing is handed out, and nothing forgotten of the log, before Install has told of a state at or above the place where
// the log begins. Meanwhile this member votes and acknowledges as before; it stands back in elections.
func (r *Raft) LoseState(now Instant) {
	r.advance(now)
	r.loseState()
}

func (r *Raft) loseState() {
	before := r.log.before.Index
	r.apply = applying{handed: before, applied: before, lost: true}
}

// regainState goes on behind the state that the state machine was given.
func (r *Raft) regainState(at Index) {
	r.apply = applying{handed: at, applied: at}
	r.members.unknown = false
}

// mayHandOut reports whether committed entries wait and there is room for them (E22).
func (r *Raft) mayHandOut() bool {
	a := &r.apply
	return !a.lost && !r.Mending() && a.handed < r.commit && a.bytes < r.config.Limits.ApplyingBytes
}

// takeCommitted returns the next committed entries, or asks for them to be read.
func (r *Raft) takeCommitted() []Entry {
	a := &r.apply
	if !r.mayHandOut() {
		return nil
	}
	var entries []Entry
	var bytes int
	next := a.handed + 1
	switch {
	case r.log.cache.has(next):
		var high Index
		high, bytes = r.log.cache.fit(next, r.commit+1, r.config.Limits.ApplyingBytes-a.bytes)
		entries = r.log.cache.slice(next, high)
	case len(a.fetched) > 0:
		entries, a.fetched = a.fetched, nil
		for _, e := range entries {
			bytes += len(e)
		}
	default:
		r.fetchCommitted(next)
		return nil
	}
	a.handed += Index(len(entries))
	a.queue = append(a.queue, handout{last: a.handed, bytes: bytes})
	a.bytes += bytes
	r.evict()
	return entries
}

func (r *Raft) fetchCommitted(next Index) {
	a := &r.apply
	if a.fetching.High != 0 || r.now < a.retryAt {
		return
	}
	a.fetching = Fetch{
		For: r.config.Self, Low: next, High: min(r.commit+1, r.log.cache.first), MaxBytes: r.config.Limits.MessageBytes,
	}
	r.out.fetches = append(r.out.fetches, a.fetching)
}

// fetchDue reports whether entries to be applied have to be asked for.
func (r *Raft) fetchDue() bool {
	a := &r.apply
	return len(a.fetched) == 0 && a.fetching.High == 0 && r.now >= a.retryAt
}

// handOutDue reports whether takeCommitted has something to do.
func (r *Raft) handOutDue() bool {
	return r.mayHandOut() && (r.log.cache.has(r.apply.handed+1) || len(r.apply.fetched) > 0 || r.fetchDue())
}

// Applied says that the state machine holds everything up to index.
func (r *Raft) Applied(now Instant, index Index) {
	r.advance(now)
	a := &r.apply
	if index > a.handed {
		assert(false, "index %d is said to be applied, the last one handed out is %d", index, a.handed)
	}
	a.done(index)
}

// done notes that everything up to index is applied.
func (a *applying) done(index Index) {
	a.applied = max(a.applied, index)
	done := 0
	for done < len(a.queue) && a.queue[done].last <= index {
		a.bytes -= a.queue[done].bytes
		done++
	}
	a.queue = a.queue[:copy(a.queue, a.queue[done:])]
}

// Fetched brings the entries that a Fetch asked for; none where they could not be read. Entries that are not those
// of this log any more are dropped: the wish may be older than a truncation.
func (r *Raft) Fetched(now Instant, fetch Fetch, entries []Entry) {
	r.advance(now)
	if !r.areOurs(fetch, entries) {
		entries = nil
	}
	if fetch.For == r.config.Self {
		a := &r.apply
		if a.fetching.Low != fetch.Low || a.fetching.High == 0 {
			return
		}
		a.fetching = Fetch{}
		a.fetched = entries
		if len(entries) == 0 {
			a.retryAt = r.now.Add(r.config.HeartbeatInterval)
		}
		return
	}
	p := r.peer(fetch.For)
	if p == nil || r.role != Leader || !p.fetching {
		return
	}
	p.fetching = false // where nothing came, the next heartbeat's turn asks again
	if len(entries) > 0 && entries[0].Index() <= p.next {
		p.fetched = entries
		r.reign.due = true
	}
}

// areOurs reports whether the entries are what the log holds at the place that was asked for.
func (r *Raft) areOurs(fetch Fetch, entries []Entry) bool {
	for i, e := range entries {
		index := fetch.Low + Index(i)
		if len(e) < EntryHeaderSize || index >= fetch.High || e.Index() != index || !r.log.holds(e.Position()) {
			return false
		}
	}
	return true
}

// evict drops durable entries from memory beyond the bound, but none that is still to be handed out.
func (r *Raft) evict() {
	needed := r.apply.handed
	if r.apply.lost {
		needed = r.commit // it is read again when there is a state to apply it to
	}
	r.log.cache.evict(min(r.log.stable, needed), r.config.Limits.CacheBytes)
}
