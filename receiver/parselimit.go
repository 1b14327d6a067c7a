package receiver

import "runtime"

// turns are for large bodies, whose parsing and verification take the time of many small ones. Half of the processors
// compute with them at the same time, so that a flood of large bodies that are wrongly signed leaves the rest to others.
type parseLimit chan struct{}

func newParseLimit() parseLimit { return make(parseLimit, max(1, runtime.GOMAXPROCS(0)/2)) }

// do works on a body of a size when it is its turn. The work must not wait for anything. Whoever is next begins at once,
// and not when a processor is free from what this one does then: the turn would be nobody's meanwhile.
func (t parseLimit) do(size int, work func()) {
	if size > smallBody {
		t <- struct{}{}
		defer func() { <-t; runtime.Gosched() }()
	}
	work()
}
