package mandrilltest

import (
	"context"
	"sync"
	"time"
)

// The slowest and the fastest clock.
const (
	minSpeed = 0.001
	maxSpeed = 10_000
)

// IsSpeed reports whether a clock can run so fast.
func IsSpeed(speed float64) bool { return speed >= minSpeed && speed <= maxSpeed }

// clock is the emulator's time. It can run faster than real time, and jump forward. It never goes back, except when it is reset.
type clock struct {
	mu      sync.Mutex
	real    time.Time // when the clock was last set
	then    time.Time // what it said at real
	speed   float64
	changed chan struct{} // closed when the clock was set
}

func newClock(options Options) *clock {
	c := &clock{changed: make(chan struct{})}
	c.reset(options)
	return c
}

// reset makes the clock start again.
func (c *clock) reset(options Options) {
	start := options.Start
	if start.IsZero() {
		start = time.Now()
	}
	c.change(func() { c.then, c.speed = start, options.Speed })
}

// change sets the clock, and wakes who waits for a time.
func (c *clock) change(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.then = c.at(time.Now())
	c.real = time.Now()
	set()
	close(c.changed)
	c.changed = make(chan struct{})
}

// at returns what the clock says at a real time. The mutex is locked.
func (c *clock) at(real time.Time) time.Time {
	return c.then.Add(time.Duration(float64(real.Sub(c.real)) * c.speed))
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(time.Now())
}

// advanceTo sets the clock to a time, unless it is later already.
func (c *clock) advanceTo(to time.Time) {
	c.change(func() {
		if to.After(c.then) {
			c.then = to
		}
	})
}

// rate returns how much faster than real time the clock runs.
func (c *clock) rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.speed
}

func (c *clock) setSpeed(speed float64) { c.change(func() { c.speed = speed }) }

// until returns a timer that fires when the clock reaches a time, unless changed is closed before.
func (c *clock) until(at time.Time) (timer *time.Timer, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.NewTimer(time.Duration(float64(at.Sub(c.at(time.Now()))) / c.speed)), c.changed
}

// wait waits until the clock reaches a time, or something comes from wake. It reports false when the context ends.
func wait[T any](ctx context.Context, c *clock, at time.Time, wake <-chan T) (woken T, ok bool) {
	for {
		timer, changed := c.until(at)
		select {
		case <-ctx.Done():
			timer.Stop()
			return woken, false
		case woken = <-wake:
			timer.Stop()
			return woken, true
		case <-timer.C:
			return woken, true
		case <-changed:
			timer.Stop()
			if !c.now().Before(at) {
				return woken, true
			}
		}
	}
}
