package receiver

import "runtime"

// parseLimit is a semaphore for the CPU time of large bodies, which take as long to parse and verify as many small ones. They
// may use half of the processors, so that a flood of large bodies with bad signatures leaves the rest to others.
type parseLimit chan struct{}

func newParseLimit() parseLimit { return make(parseLimit, max(1, runtime.GOMAXPROCS(0)/2)) }

// acquire waits for its turn to work on a body, and returns what ends the turn. The work must not block. Small bodies do not
// wait.
func (l parseLimit) acquire(size int) (release func()) {
	if size <= smallBody {
		return func() {}
	}
	l <- struct{}{}
	return func() {
		<-l
		runtime.Gosched() // the next waiter runs now, so that the slot does not stay idle
	}
}
