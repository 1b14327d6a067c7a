package reports

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
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
	list   map[Reporter]*limit
	pruned time.Time
}

// limit is the rate of one reporter, and how many of its reports are being read.
type limit struct {
	rate   *rate.Limiter
	used   time.Time
	active int
}

// acquire admits a report. The caller releases it when the report has been taken.
func (l *limits) acquire(reporter Reporter) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.list == nil {
		l.list = map[Reporter]*limit{}
	}
	if now.Sub(l.pruned) > limitMemory {
		l.prune(now)
	}
	of := l.list[reporter]
	if of == nil {
		if len(l.list) >= maxReporters {
			return nil, errBusy
		}
		of = &limit{rate: rate.NewLimiter(reportsPerSecond, reportsBurst)}
		l.list[reporter] = of
	}
	of.used = now
	if of.active >= maxConcurrent || !of.rate.AllowN(now, 1) {
		return nil, errLimited
	}
	of.active++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		of.active--
	}, nil
}

func (l *limits) prune(now time.Time) {
	for reporter, of := range l.list {
		if of.active == 0 && now.Sub(of.used) > limitMemory {
			delete(l.list, reporter)
		}
	}
	l.pruned = now
}
