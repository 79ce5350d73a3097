package store

// WatchStats is what metrics show of watchers.
type WatchStats struct {
	// Feeds and Watchers are those that there are, Late the watchers that read the revision log to catch up.
	Feeds, Watchers, Late int
	// Events is how many were handed out or read for a watcher, counted once for each that was told.
	Events uint64
	// Pending and PendingBytes are the events that wait for their clients.
	Pending      int
	PendingBytes int64
	// Lag is how many revisions the last of the late watchers has still to be told.
	Lag int64
}

// WatchStats counts. It takes time in proportion to the feeds.
func (s *Store) WatchStats() WatchStats {
	h := &s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	stats := WatchStats{Feeds: len(h.feeds), Events: h.events.Load()}
	revision := s.state.Load().revision
	for _, f := range h.feeds {
		stats.Watchers += len(f.watchers)
		f.mu.Lock()
		stats.Late += f.late
		stats.Pending += f.pending
		stats.PendingBytes += f.bytes
		f.mu.Unlock()
		if at := f.position.Load(); at > 0 {
			stats.Lag = max(stats.Lag, revision+1-at)
		}
	}
	return stats
}
