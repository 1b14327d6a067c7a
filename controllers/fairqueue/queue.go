// Package fairqueue runs jobs with fair shares, so that slow jobs of one tenant do not delay those of another.
package fairqueue

import (
	"slices"
	"sync"
	"time"
)

// Options bound a [Queue]. All are required.
type Options struct {
	Workers   int           // jobs that run at the same time, without slow ones
	Slow      time.Duration // a job that has run for so long is slow: it goes on, and its worker takes another
	PerTenant int           // jobs of a tenant that run at the same time, slow ones included
	PerGroup  int           // jobs of a group that run at the same time, slow ones included
}

// Job is what a queue runs. The groups of a tenant are those of its jobs that may be slow together, such as the jobs that
// call the same server.
type Job struct {
	Tenant, Group string
	Run           func()
}

// Queue runs jobs. Tenants take turns, and within a tenant its groups; the jobs of a group start in their order.
//
// A job whose group and tenant are below their bounds waits for workers only, and a worker is busy for Slow at most. So it
// starts after Slow, for each as many tenants with waiting jobs as there are workers, whatever jobs of other tenants do.
type Queue struct {
	options Options
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	busy    int // workers
	tenants map[string]*tenant
	turns   []*tenant // that have waiting jobs, the next one first
}

type tenant struct {
	name    string
	running int
	waiting int
	groups  map[string]*group
	turns   []*group // that have waiting jobs, the next one first
}

type group struct {
	name    string
	running int
	waiting []Job
}

// New returns an empty queue.
func New(options Options) *Queue {
	return &Queue{options: options, tenants: map[string]*tenant{}}
}

// Add adds a job. After Close it does nothing.
func (q *Queue) Add(job Job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	t := q.tenants[job.Tenant]
	if t == nil {
		t = &tenant{name: job.Tenant, groups: map[string]*group{}}
		q.tenants[job.Tenant] = t
	}
	g := t.groups[job.Group]
	if g == nil {
		g = &group{name: job.Group}
		t.groups[job.Group] = g
	}
	if g.waiting = append(g.waiting, job); len(g.waiting) == 1 {
		t.turns = append(t.turns, g)
	}
	if t.waiting++; t.waiting == 1 {
		q.turns = append(q.turns, t)
	}
	q.start()
}

// Close starts no more jobs, and waits for those that run.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.running.Wait()
}

// Counts are numbers of jobs.
type Counts struct {
	Waiting, Running int
	Slow             int // of those that run
}

// Count returns how many jobs there are.
func (q *Queue) Count() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	var counts Counts
	for _, t := range q.tenants {
		counts.Waiting += t.waiting
		counts.Running += t.running
	}
	counts.Slow = counts.Running - q.busy
	return counts
}

// start starts as many jobs as may run. The caller holds mu.
func (q *Queue) start() {
	for !q.closed && q.busy < q.options.Workers {
		t, g := q.next()
		if g == nil {
			return
		}
		job := g.waiting[0]
		g.waiting = g.waiting[1:]
		if len(g.waiting) == 0 {
			g.waiting = nil
			t.turns = slices.DeleteFunc(t.turns, func(other *group) bool { return other == g })
		}
		if t.waiting--; t.waiting == 0 {
			q.turns = slices.DeleteFunc(q.turns, func(other *tenant) bool { return other == t })
		}
		t.running++
		g.running++
		q.busy++
		q.running.Go(func() { q.run(job, t, g) })
	}
}

// next returns the group whose turn it is, nil if no job may start. Tenants and groups that it passes keep their turn.
func (q *Queue) next() (*tenant, *group) {
	for i, t := range q.turns {
		if t.running >= q.options.PerTenant {
			continue
		}
		for j, g := range t.turns {
			if g.running < q.options.PerGroup {
				q.turns = toEnd(q.turns, i)
				t.turns = toEnd(t.turns, j)
				return t, g
			}
		}
	}
	return nil, nil
}

// toEnd moves an element to the end of a list.
func toEnd[T any](list []T, at int) []T {
	element := list[at]
	return append(slices.Delete(list, at, at+1), element)
}

// run runs a job, and gives its worker back when the job has become slow or has ended.
func (q *Queue) run(job Job, t *tenant, g *group) {
	released := false
	release := func() { // with mu held
		if !released {
			released = true
			q.busy--
		}
	}
	timer := time.AfterFunc(q.options.Slow, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		release()
		q.start()
	})
	defer func() {
		timer.Stop()
		q.mu.Lock()
		defer q.mu.Unlock()
		release()
		t.running--
		if g.running--; g.running == 0 && len(g.waiting) == 0 {
			delete(t.groups, g.name)
		}
		if t.running == 0 && t.waiting == 0 {
			delete(q.tenants, t.name)
		}
		q.start()
	}()
	job.Run()
}
