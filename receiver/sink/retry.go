package sink

import (
	"math"
	"time"
)

const (
	// defaultBackoff is the delay before the first retry if the route has none.
	defaultBackoff = time.Second
	// maxBackoff bounds the pause between two attempts, so that the backlog moves soon after a sink has recovered.
	maxBackoff = 10 * time.Minute
	// MaxPause is the longest pause before the next attempt of an item.
	MaxPause = max(maxBackoff, maxRetryAfter)
)

// Retry says how often and when a failed event is sent again.
type Retry struct {
	Max     int           // retries after the first attempt
	Linear  bool          // backoff; default: exponential
	Backoff time.Duration // before the first retry; default 1 s
}

// delay returns the pause after some attempts.
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
