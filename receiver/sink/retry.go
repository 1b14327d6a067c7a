package sink

import (
	"math"
	"time"
)

const (
	// defaultBackoff is the delay before the first retry when the route does not say.
	defaultBackoff = time.Second
	// maxBackoff is the longest pause between two attempts, so that what waits goes on soon after a sink works again.
	maxBackoff = 10 * time.Minute
	// MaxPause is the longest that an item has to wait for its next attempt.
	MaxPause = max(maxBackoff, maxRetryAfter)
)

// Retry says how often and when an event that failed is sent again.
type Retry struct {
	Max     int           // retries, not counting the first attempt
	Linear  bool          // default: exponential
	Backoff time.Duration // before the first retry; default 1 s
}

// delay is the pause after so many attempts.
func (r Retry) delay(attempts int) time.Duration {
	backoff := r.Backoff
	if backoff == 0 {
		backoff = defaultBackoff
	}
	factor := float64(attempts)
	if !r.Linear {
		factor = math.Exp2(float64(attempts - 1))
	}
	return time.Duration(min(float64(backoff)*factor, float64(maxBackoff)))
}
