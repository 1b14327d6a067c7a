package reports

import (
	"sync"
	"time"
)

const (
	// A receiver of 20,000 webhooks sends 20 reports per interval, and some more when webhooks change.
	reportsPerSecond = 5
	reportsBurst     = 60
	// maxConcurrent bounds the reports of one reporter that are read at the same time.
	maxConcurrent = 2
	// maxReporters bounds the reporters that are remembered. Those that were idle for limitMemory are forgotten.
	maxReporters = 20000
	limitMemory  = time.Minute
)

// limits bound the reports of each reporter. The reporter is who the API server says: what a report claims does not count.
type limits struct {
	now func() time.Time

	mu     sync.Mutex
	list   map[Reporter]*bucket
	pruned time.Time
}

// bucket is a token bucket, and how many reports are being read.
type bucket struct {
	tokens float64
	filled time.Time
	active int
}

// acquire takes a token. The caller releases it when the report has been taken.
func (l *limits) acquire(reporter Reporter) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.list == nil {
		l.list = map[Reporter]*bucket{}
	}
	if now.Sub(l.pruned) > limitMemory {
		l.prune(now)
	}
	b := l.list[reporter]
	if b == nil {
		if len(l.list) >= maxReporters {
			return nil, errBusy
		}
		b = &bucket{tokens: reportsBurst, filled: now}
		l.list[reporter] = b
	}
	b.tokens = min(reportsBurst, b.tokens+now.Sub(b.filled).Seconds()*reportsPerSecond)
	b.filled = now
	if b.tokens < 1 || b.active >= maxConcurrent {
		return nil, errLimited
	}
	b.tokens--
	b.active++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		b.active--
	}, nil
}

func (l *limits) prune(now time.Time) {
	for reporter, b := range l.list {
		if b.active == 0 && now.Sub(b.filled) > limitMemory {
			delete(l.list, reporter)
		}
	}
	l.pruned = now
}
