package transport

import "sync"

// quiet remembers what was said, so that what happens in a loop is logged once.
type quiet struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// maxSaid bounds the memory: strangers may come from anywhere. Beyond it everything may be said once more.
const maxSaid = 1024

// first reports whether key was not said before.
func (q *quiet) first(key string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, said := q.said[key]; said {
		return false
	}
	if q.said == nil || len(q.said) >= maxSaid {
		q.said = map[string]struct{}{}
	}
	q.said[key] = struct{}{}
	return true
}
