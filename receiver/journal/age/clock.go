package age

import "time"

const (
	// steadyTime is how long the clock must have run without a jump before it is trusted. A person who sets a clock wrongly,
	// or uses a wrong time server, notices within that time.
	steadyTime = time.Hour
	// A gap since the time that the last leader has recorded means that no receiver ran for so long, or that the clock is wrong.
	// After a gap of more than longGap it must have run for longSteadyTime.
	longGap        = 24 * time.Hour
	longSteadyTime = 24 * time.Hour
	// jump is how far the clock may move against the time that has passed. Time servers correct less.
	jump = time.Minute
)

// clock decides whether the time of day can be trusted.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration // since a fixed moment, whatever happens to the time of day
	most    time.Duration        // that it is distrusted

	lastNow     time.Time
	lastElapsed time.Duration
	trustedFrom time.Duration // of elapsed
}

// start begins to watch a clock. Recorded is what the clock of the last leader has said; zero: nothing.
func (c *clock) start(recorded time.Time) (gap time.Duration) {
	c.lastNow, c.lastElapsed = c.now(), c.elapsed()
	if !recorded.IsZero() {
		gap = c.lastNow.Sub(recorded)
	}
	hold := steadyTime
	if gap > longGap || gap < -longGap {
		hold = longSteadyTime
	}
	c.trustedFrom = c.lastElapsed + min(hold, c.most)
	return gap
}

// check returns the time of day, how far it has jumped since the last check, and whether it can be trusted.
func (c *clock) check() (now time.Time, jumped time.Duration, trusted bool) {
	now, elapsed := c.now(), c.elapsed()
	jumped = now.Round(0).Sub(c.lastNow.Round(0)) - (elapsed - c.lastElapsed)
	c.lastNow, c.lastElapsed = now, elapsed
	if jumped > jump || jumped < -jump {
		c.trustedFrom = max(c.trustedFrom, elapsed+min(steadyTime, c.most))
		return now, jumped, false
	}
	return now, 0, elapsed >= c.trustedFrom
}
