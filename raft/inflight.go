package raft

// inflight remembers the appends with entries that were sent to one follower and not yet acknowledged, in
// order. It is a ring that grows to the limit on messages and no further.
type inflight struct {
	ring  []sent
	head  int
	count int
	bytes int
}

type sent struct {
	last  Index // the last entry of the message
	bytes int
}

func (f *inflight) empty() bool { return f.count == 0 }

// full reports whether the window is used up. An empty window takes any message, however large.
func (f *inflight) full(limits *Limits) bool {
	return f.count >= limits.InflightMessages || f.count > 0 && f.bytes >= limits.InflightBytes
}

func (f *inflight) add(last Index, bytes int) {
	if f.count == len(f.ring) {
		f.grow()
	}
	f.ring[(f.head+f.count)%len(f.ring)] = sent{last, bytes}
	f.count++
	f.bytes += bytes
}

func (f *inflight) grow() {
	ring := make([]sent, max(8, 2*len(f.ring)))
	for i := range f.count {
		ring[i] = f.ring[(f.head+i)%len(f.ring)]
	}
	f.ring, f.head = ring, 0
}

// acknowledge frees the messages whose last entry is at or below match.
func (f *inflight) acknowledge(match Index) {
	for f.count > 0 && f.ring[f.head].last <= match {
		f.bytes -= f.ring[f.head].bytes
		f.head = (f.head + 1) % len(f.ring)
		f.count--
	}
}

func (f *inflight) reset() { f.head, f.count, f.bytes = 0, 0, 0 }
