package transport

import (
	"slices"
	"sync"

	"github.com/balsadb/balsa/raft"
)

// acquaintance is what is known about another host, on whichever lane it was learnt: where it is, and who it was last.
type acquaintance struct {
	mu    sync.Mutex
	urls  []peerURL // the one that last worked first
	met   bool      // whether it has been in touch, and as whom
	known Identity
	// features are what its build can do, as it has told last.
	features Features
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

// admit decides whether somebody who says to be this member can be: a later life replaces an earlier one, never the other
// way round, and within a life the data directory stays the same.
func (a *acquaintance) admit(c *card) *RefusedError {
	id := c.Identity
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.met && id.Life < a.known.Life:
		return refuse(ReasonEarlierLife, "%s has joined again since (life %d, you are life %d): it was removed, and this data directory is out of date",
			memberName(id.Member), a.known.Life, id.Life)
	case a.met && id.Life == a.known.Life && id.DataDir != a.known.DataDir:
		return refuse(ReasonDataDir, "%s came with data directory %s before and now comes with %s: its disk was wiped or swapped; remove the member and add it again",
			memberName(id.Member), a.known.dataDir(), id.dataDir())
	}
	a.met, a.known, a.features = true, id, Features(c.supported)
	return nil
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
