package receiver

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// pacedBodies is from how many bytes of bodies on the garbage collector is paced.
	pacedBodies = 16 << 20
	// pacedStep is by how much the bodies must change before the pace does: a change stops the process for a moment.
	pacedStep = 8 << 20
	// minHeadroom is how much the heap may always grow before it is collected.
	minHeadroom = 4 << 20
	// maxGOGC is the largest GOGC that is paced. Above it, or off, somebody wants the heap to grow.
	maxGOGC = 1000
)

// gcPacer lets the heap grow between two collections by as much as it would without the bodies of requests. The garbage collector
// lets it grow by a percentage of all that is in use. Large bodies are in use for a while, and have no pointers: they cost no time in
// a collection, but each would allow half as much garbage as it is large. There is one, because there is one garbage collector.
type gcPacer struct {
	mu     sync.Mutex
	bodies int64 // in memory now
	paced  int64 // bodies that the pace is for; 0: the pace is that without bodies
	base   int64 // GOGC without bodies
	rest   int64 // what is in use besides the bodies
}

var collector gcPacer

// add adds to the bytes of bodies in memory, or subtracts from them.
func (p *gcPacer) add(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies += bytes
	large := p.bodies >= pacedBodies
	switch {
	case !large && p.paced > 0:
		debug.SetGCPercent(int(p.base))
		p.paced = 0
	case large && (p.paced == 0 || p.bodies-p.paced >= pacedStep || p.paced-p.bodies >= pacedStep):
		p.pace()
	}
}

func (p *gcPacer) pace() {
	live, gogc := heapInUse()
	if p.paced == 0 {
		p.base, p.rest = gogc, live
	} else {
		p.rest = max(p.rest, live-p.paced) // a body may not be in it yet
	}
	if p.base > maxGOGC {
		return
	}
	debug.SetGCPercent(pacedPercent(p.base, p.rest, p.bodies))
	p.paced = p.bodies
}

// pacedPercent is the percentage of bodies and the rest that is the given percentage of the rest.
func pacedPercent(percent, rest, bodies int64) int {
	headroom := max(rest*percent/100, minHeadroom)
	return int(min(max(headroom*100/(rest+bodies), 1), percent))
}

// heapInUse returns what was in use at the last collection, and GOGC.
func heapInUse() (live, gogc int64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64()), int64(min(samples[1].Value.Uint64(), maxGOGC+1)) //nolint:gosec // they are small
}
