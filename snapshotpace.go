package balsa

import (
	"io"
	"sync"
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// Snapshots are made, sent and restored beside everything else, and as slowly as HostConfig.SnapshotRate says: a disk or a network
// that is busy with gigabytes keeps the log's writes waiting, which are a few kilobytes, and with them every client (E31).

// pace lets bytes through at a rate, in bursts of a twentieth of a second. The zero value lets through everything. Its user
// asks before, and tells after: so what is let through at once may be more than there was room for, and is waited for afterwards.
type pace struct {
	rate  int64 // bytes a second; 0 for no bound
	spent int64 // beyond what was earned, at the instant
	at    actor.Instant
}

// burst is how many bytes may have been earned in advance.
func (p *pace) burst() int64 { return p.rate / 20 }

// ready returns when the next bytes may go: now or earlier where they may go at once.
func (p *pace) ready(now actor.Instant) actor.Instant {
	p.earn(now)
	if p.rate == 0 || p.spent <= 0 {
		return now
	}
	return now.Add(time.Duration(float64(p.spent) / float64(p.rate) * float64(time.Second))).Add(1)
}

func (p *pace) earn(now actor.Instant) {
	if now > p.at && p.rate > 0 {
		earned := int64(float64(now-p.at) / float64(time.Second) * float64(p.rate))
		p.spent = max(p.spent-earned, -p.burst())
		if earned > 0 {
			p.at = now
		}
	}
}

// spend takes note of bytes that went.
func (p *pace) spend(now actor.Instant, bytes int) {
	p.earn(now)
	p.spent += int64(bytes)
}

// diskPace is the pace of what reads or writes whole states: the actors that make and restore snapshots share it. They may wait
// in their turns, which take as long as a state is large anyway, where the scheduler has a way to.
type diskPace struct {
	scheduler actor.Scheduler
	mu        sync.Mutex
	pace      pace
}

// longestPause bounds a wait, so that who is to stop does so soon.
const longestPause = 50 * time.Millisecond

// pass waits until so many bytes may go, or stopping says that nobody needs them any more.
func (d *diskPace) pass(bytes int, stopping func() bool) {
	pauser, can := d.scheduler.(actor.Pauser)
	if d.pace.rate == 0 || !can {
		return
	}
	for !stopping() {
		wait := d.take(bytes)
		if wait <= 0 {
			return
		}
		pauser.Pause(min(wait, longestPause))
	}
}

// take takes the bytes, or says how long to wait.
func (d *diskPace) take(bytes int) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.scheduler.Now()
	if ready := d.pace.ready(now); ready > now {
		return time.Duration(ready - now)
	}
	d.pace.spend(now, bytes)
	return 0
}

// pacedReader reads at a disk's pace, counts, and ends early where it is to stop.
type pacedReader struct {
	from     io.Reader
	pace     *diskPace
	stopping func() bool
	task     *snapshotTask
}

func (r *pacedReader) Read(p []byte) (int, error) {
	if r.stopping() {
		return 0, ErrClosed
	}
	n, err := r.from.Read(p)
	r.task.done.Add(int64(n))
	r.pace.pass(n, r.stopping)
	return n, err
}
