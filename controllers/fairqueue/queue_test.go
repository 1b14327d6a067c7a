package fairqueue_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mandrill-operator/mandrill-operator/controllers/fairqueue"
)

var options = fairqueue.Options{Workers: 4, Slow: 100 * time.Millisecond, PerTenant: 6, PerGroup: 3}

// hang is how long a job takes whose server does not answer.
const hang = time.Hour

// wait lets time pass, and what happens then happen.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// add adds a job that takes some time, and returns a function that reports when it started, relative to now.
func add(q *fairqueue.Queue, tenant, group string, takes time.Duration) (delay func() (time.Duration, bool)) {
	var mu sync.Mutex
	added, started := time.Now(), time.Time{}
	q.Add(fairqueue.Job{Tenant: tenant, Group: group, Run: func() {
		mu.Lock()
		started = time.Now()
		mu.Unlock()
		<-time.After(takes)
	}})
	return func() (time.Duration, bool) {
		mu.Lock()
		defer mu.Unlock()
		return started.Sub(added), !started.IsZero()
	}
}

// Whatever one tenant does, a job of another waits for a turn of a worker, and a turn is short.
func TestTenantIsNotDelayedByHangingJobsOfOthers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tenants, groups, jobs int
		limit                 time.Duration
	}{
		"one tenant":                        {1, 1, 1000, options.Slow},
		"one tenant that uses many servers": {1, 1000, 1000, 2 * options.Slow},
		"many tenants":                      {100, 1, 20, (100/4 + 2) * options.Slow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := fairqueue.New(options)
				for i := range test.jobs {
					for tenant := range test.tenants {
						add(q, fmt.Sprint("slow", tenant), strconv.Itoa(i%test.groups), hang)
					}
				}
				delay := add(q, "another", "", 0)
				wait(hang - time.Second)
				if got, ok := delay(); !ok || got > test.limit {
					t.Errorf("the other tenant's job started: %t, after %v; want at most %v", ok, got, test.limit)
				}
				q.Close()
			})
		})
	}
}

// A server that hangs holds up the jobs of its own group only.
func TestGroupIsNotDelayedByAnotherOfItsTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := fairqueue.New(options)
		for range 1000 {
			add(q, "tenant", "hanging", hang)
		}
		delay := add(q, "tenant", "well", 0)
		wait(time.Second)
		if got, ok := delay(); !ok || got > options.Slow {
			t.Errorf("started: %t, after %v", ok, got)
		}
		q.Close()
	})
}

// Fast jobs of one tenant take turns with those of another.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := fairqueue.New(options)
		for range 1000 {
			add(q, "many", "", 10*time.Millisecond)
		}
		delay := add(q, "one", "", 0)
		wait(time.Minute)
		if got, ok := delay(); !ok || got > 20*time.Millisecond {
			t.Errorf("started: %t, after %v", ok, got)
		}
		q.Close()
	})
}

func TestRunningJobsAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tenant, group func(int) string
		takes         time.Duration
		want          fairqueue.Counts
	}{
		"by workers while they are fast": {
			strconv.Itoa, func(int) string { return "" }, options.Slow / 2, fairqueue.Counts{Waiting: 96, Running: 4},
		},
		"by the group":  {func(int) string { return "t" }, func(int) string { return "g" }, hang, fairqueue.Counts{Waiting: 97, Running: 3, Slow: 3}},
		"by the tenant": {func(int) string { return "t" }, strconv.Itoa, hang, fairqueue.Counts{Waiting: 94, Running: 6, Slow: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := fairqueue.New(options)
				for i := range 100 {
					add(q, test.tenant(i), test.group(i), test.takes)
				}
				if test.takes == hang {
					wait(time.Minute)
				}
				synctest.Wait()
				if got := q.Count(); got != test.want {
					t.Errorf("got %+v, want %+v", got, test.want)
				}
				q.Close()
			})
		})
	}
}

// Every job runs, those of a group in their order, and afterwards nothing is left.
func TestEveryJobRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := fairqueue.New(fairqueue.Options{Workers: 2, Slow: time.Millisecond, PerTenant: 2, PerGroup: 1})
		var mu sync.Mutex
		ran := map[string][]int{}
		for i := range 300 {
			tenant, group := strconv.Itoa(i%3), strconv.Itoa(i%7)
			q.Add(fairqueue.Job{Tenant: tenant, Group: group, Run: func() {
				<-time.After(time.Duration(i%5) * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				ran[tenant+group] = append(ran[tenant+group], i)
			}})
		}
		wait(time.Minute)
		total := 0
		for name, list := range ran {
			total += len(list)
			if !slices.IsSorted(list) {
				t.Errorf("%s ran in the order %v", name, list)
			}
		}
		if got := q.Count(); total != 300 || got != (fairqueue.Counts{}) {
			t.Errorf("%d jobs ran, left are %+v", total, got)
		}
		q.Close()
	})
}

// Close waits for what runs, and nothing starts after it.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := fairqueue.New(options)
		var waiting []func() (time.Duration, bool)
		for range 10 {
			waiting = append(waiting, add(q, "t", "g", time.Minute))
		}
		start := time.Now()
		q.Close()
		if got := time.Since(start); got != time.Minute {
			t.Errorf("it waited for %v", got)
		}
		late := add(q, "t", "g", 0)
		synctest.Wait()
		started := 0
		for _, delay := range append(waiting, late) {
			if _, ok := delay(); ok {
				started++
			}
		}
		if started != options.PerGroup {
			t.Errorf("%d jobs started, want %d", started, options.PerGroup)
		}
	})
}
