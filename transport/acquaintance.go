package transport

import (
	"slices"
	"sync"
	"time"

	"github.com/balsadb/balsa/raft"
)

// acquaintance is what is known about another host, on whichever lane it was learnt: where it is, and who it is. What outlives the
// process is in the register.
type acquaintance struct {
	mu    sync.Mutex
	urls  []peerURL // the one that last worked first
	rival rival
	// features are what its build can do, as it has told last.
	features Features
	level    raft.Level // the highest that it speaks
}

// url returns the address to try: the one that last worked first, then the others in turn.
func (a *acquaintance) url(attempt int) peerURL {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.urls[attempt%len(a.urls)]
}

func (a *acquaintance) setURLs(urls []peerURL) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.urls = urls
}

// hasURL reports whether the host is still to be reached there.
func (a *acquaintance) hasURL(raw string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.urls, func(u peerURL) bool { return u.raw == raw })
}

// prefer makes a URL the first to be tried.
func (a *acquaintance) prefer(raw string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	urls := make([]peerURL, 0, len(a.urls))
	for _, u := range a.urls {
		if u.raw == raw {
			urls = append(urls, u)
		}
	}
	for _, u := range a.urls {
		if u.raw != raw {
			urls = append(urls, u)
		}
	}
	a.urls = urls
}

// rival is a process that says to be the same member as another one that is connected.
type rival struct {
	boot  uint64
	since time.Duration
}

// contest decides about a process of the member where another one holds connections: heard is when that one was last known to live.
// Who was killed, or lost its power, cannot answer any more: it gets as long as a ping takes to show that it does. So of two processes that live,
// with one data directory or a copy of it, the first one stays, and the other is refused for as long.
func (a *acquaintance) contest(boot uint64, now, heard, patience time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rival.boot != boot {
		a.rival = rival{boot, now}
	}
	return heard <= a.rival.since && now-a.rival.since >= patience
}

// contested reports whether another process than the one that is connected has said to be the member.
func (a *acquaintance) contested(boot uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return boot != 0 && a.rival.boot != 0 && a.rival.boot != boot
}

// PeerFeatures returns what another host's build can do, as far as it has told.
func (t *TCP) PeerFeatures(id raft.MemberID) Features {
	p := t.peer(id)
	if p == nil {
		return 0
	}
	p.who.mu.Lock()
	defer p.who.mu.Unlock()
	return p.who.features
}
