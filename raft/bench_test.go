package raft

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkReplicate is the protocol's own part of a command's way: three members in memory, disks that are done at
// once, batches of proposals from the leader's Propose to the last Applied. One operation is one proposal.
func BenchmarkReplicate(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { benchmarkReplicate(b, batch) })
	}
}

// pump is three members whose outputs are carried out at once.
type pump struct {
	now     Instant
	members [3]*Raft
	applied [3]Index
}

func (p *pump) run() {
	for busy := true; busy; {
		busy = false
		for i, r := range p.members {
			for r.HasOutput() {
				busy = true
				o := r.Output()
				for _, e := range o.Messages {
					p.members[e.To-1].Receive(p.now, e)
				}
				if o.Write != nil {
					r.Persisted(p.now, o.Write.Seq)
				}
				if n := len(o.Committed); n > 0 {
					p.applied[i] = o.Committed[n-1].Index()
					r.Applied(p.now, p.applied[i])
				}
			}
		}
	}
}

func benchmarkReplicate(b *testing.B, batch int) {
	p := &pump{now: Instant(time.Second)}
	for i := range p.members {
		seed := uint64(i)
		r, err := New(Config{
			Group: 1, Self: MemberID(i + 1), Members: []Member{{1, 1}, {2, 1}, {3, 1}},
			ElectionTimeout: time.Second, HeartbeatInterval: 100 * time.Millisecond,
			Random: func() uint64 { seed++; return seed * 12345 },
		}, Restored{}, p.now)
		if err != nil {
			b.Fatal(err)
		}
		p.members[i] = r
	}
	leader := p.members[0]
	p.now = leader.Deadline()
	leader.Tick(p.now)
	p.run()
	// Frames are made beforehand, as the edge does it, and used again once all have applied them long ago.
	const ring = 1 << 18
	frames := make([]Entry, min(ring, b.N+batch))
	for i := range frames {
		frames[i] = SealedEntry(EntryNormal, make([]byte, 256))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		at := done % (len(frames) - batch + 1)
		if _, err := leader.Propose(p.now, frames[at:at+batch]); err != nil {
			b.Fatal(err)
		}
		p.run()
		p.now += Instant(time.Microsecond)
	}
	b.StopTimer()
	for i, applied := range p.applied {
		if int(applied) < b.N {
			b.Fatalf("member %d has applied %d of %d", i+1, applied, b.N)
		}
	}
}
