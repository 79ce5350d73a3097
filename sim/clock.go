package sim

import (
	"time"

	"github.com/balsadb/balsa/internal/actor"
)

// clock is one machine's monotonic clock. It may be fast or slow, stand still, and jump: nobody above may rely on
// more than that the protocol promises of it (E42).
type clock struct {
	since actor.Instant // of the world: from then on the clock
	at    actor.Instant // showed this, and went on
	rate  int64         // with so many nanoseconds in a millisecond of the world; exact is 1e6, 0 stands still
	// gained is by how much it has run ahead until then, of a jump a second at most: as far as leases may end early for it.
	gained time.Duration
}

const exactRate = 1_000_000

// read returns what the clock shows.
func (c *clock) read(now actor.Instant) actor.Instant {
	passed := int64(now - c.since)
	return c.at + actor.Instant(passed/exactRate*c.rate+passed%exactRate*c.rate/exactRate)
}

// when returns the instant of the world at which the clock shows at least local, Never where it stands still.
func (c *clock) when(local, now actor.Instant) actor.Instant {
	missing := int64(local - c.read(now))
	switch {
	case local == actor.Never:
		return actor.Never
	case missing <= 0:
		return now
	case c.rate == 0:
		return actor.Never
	}
	return now + actor.Instant(missing/c.rate*exactRate+missing%c.rate*exactRate/c.rate+1)
}

// set changes the clock from now on: it jumps, and goes on at another rate.
func (c *clock) set(now actor.Instant, jump, rate int64) {
	c.gained = c.fast(now) + min(max(0, time.Duration(jump)), longestLeaseStep)
	c.at = max(1, c.read(now)+actor.Instant(jump))
	c.since, c.rate = now, rate
}
