package probe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/probe"
)

// receivers answer by URL: nil serves it, and errHang never answers.
type receivers struct {
	mu      sync.Mutex
	answers map[string]error
	asked   map[string]int
	changed map[types.NamespacedName]int
}

var errHang = errors.New("hang")

func (r *receivers) Probe(ctx context.Context, url, key string, _ bool) error {
	r.mu.Lock()
	r.asked[url+key]++
	err := r.answers[url+key]
	r.mu.Unlock()
	if errors.Is(err, errHang) {
		<-ctx.Done()
		return errors.New("no answer in time")
	}
	<-time.After(time.Millisecond)
	return err
}

func (r *receivers) set(url string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[url] = err
}

// since returns what was asked and who was told since the last call.
func (r *receivers) since() (asked map[string]int, changed map[types.NamespacedName]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, changed = maps.Clone(r.asked), maps.Clone(r.changed)
	clear(r.asked)
	clear(r.changed)
	return asked, changed
}

// inPool runs a test with a pool, in a bubble with its own time.
func inPool(t *testing.T, test func(t *testing.T, pool *probe.Pool, r *receivers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &receivers{answers: map[string]error{}, asked: map[string]int{}, changed: map[types.NamespacedName]int{}}
		pool := probe.NewPool(probe.PoolOptions{Prober: r, Changed: func(_ context.Context, object types.NamespacedName) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changed[object]++
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- pool.Start(ctx) }()
		test(t, pool, r)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

const url = "https://hooks.example/a"

func ask(namespace, url string) probe.Question {
	return probe.Question{Object: types.NamespacedName{Namespace: namespace, Name: "w"}, UID: "uid", Generation: 1, URL: url}
}

var (
	errRefused = errors.New("connection refused")
	served     = probe.Answer{Known: true}
)

// A reconcile waits a moment only. When the answer comes later, the object is reconciled.
func TestLateAnswerReachesTheObject(t *testing.T) {
	t.Parallel()
	inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
		r.set(url, errHang)
		start := time.Now()
		if got := pool.Ask(t.Context(), ask("a", url), false); got.Known {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the reconcile waited for %v", took)
		}
		wait(probe.Timeout)
		if _, changed := r.since(); len(changed) != 1 {
			t.Errorf("told %v", changed)
		}
		if got := pool.Ask(t.Context(), ask("a", url), false); !got.Known || got.Err == nil || got.Lost {
			t.Errorf("got %+v", got)
		}
		r.set(url, nil)
		wait(time.Minute)
		if _, changed := r.since(); len(changed) != 1 {
			t.Errorf("told %v", changed)
		}
		if got := pool.Ask(t.Context(), ask("a", url), false); got != served {
			t.Errorf("got %+v", got)
		}
	})
}

// An answer counts for the question that was asked, and nothing else.
func TestAnswerBelongsToItsQuestion(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*probe.Question){
		"another URL":        func(q *probe.Question) { q.URL += "/b" },
		"another generation": func(q *probe.Question) { q.Generation++ },
		"another object":     func(q *probe.Question) { q.UID = "other" },
		"a sidecar":          func(q *probe.Question) { q.Sidecar = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
				if got := pool.Ask(t.Context(), ask("a", url), false); got != served {
					t.Fatalf("got %+v", got)
				}
				next := ask("a", url)
				change(&next)
				r.set(next.URL, errHang)
				if got := pool.Ask(t.Context(), next, false); got.Known {
					t.Errorf("the answer to an earlier question counts: %+v", got)
				}
			})
		})
	}
	t.Run("routes that changed", func(t *testing.T) {
		t.Parallel()
		inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
			pool.Ask(t.Context(), ask("a", url), false)
			r.set(url, errHang)
			pool.Renew(ask("a", url))
			if got := pool.Ask(t.Context(), ask("a", url), false); got.Known {
				t.Errorf("the answer about earlier routes counts: %+v", got)
			}
		})
	})
	t.Run("a probe in flight", func(t *testing.T) {
		t.Parallel()
		inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
			r.set(url, errHang)
			pool.Ask(t.Context(), ask("a", url), false)
			next := ask("a", url)
			next.Generation++
			r.set(url, nil)
			if got := pool.Ask(t.Context(), next, false); got != served {
				t.Errorf("got %+v", got)
			}
			wait(time.Minute)
			if got := pool.Ask(t.Context(), next, false); got != served {
				t.Errorf("a probe for the earlier generation changed the answer to %+v", got)
			}
		})
	})
}

// A receiver that goes away is noticed within three minutes, four if it hangs, and one failure is not believed. One that
// comes back is noticed within half a minute.
func TestReceiverThatGoesAwayIsNoticed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  error
		trusted bool
		within  time.Duration
	}{
		"refuses":                         {errRefused, false, 3 * time.Minute},
		"hangs":                           {errHang, false, 4 * time.Minute},
		"refuses after a restart of ours": {errRefused, true, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
				if got := pool.Ask(t.Context(), ask("a", url), test.trusted); got != served {
					t.Fatalf("got %+v", got)
				}
				wait(10 * time.Minute)
				if asked, changed := r.since(); asked[url] < 4 || asked[url] > 7 || len(changed) != 0 {
					t.Errorf("asked %v times in ten minutes, told %v", asked, changed)
				}
				r.set(url, test.answer)
				wait(test.within)
				if got := pool.Ask(t.Context(), ask("a", url), true); got.Err == nil || !got.Lost {
					t.Errorf("got %+v", got)
				}
				if _, changed := r.since(); len(changed) != 1 {
					t.Errorf("told %v", changed)
				}
				r.set(url, nil)
				wait(40 * time.Second)
				if got := pool.Ask(t.Context(), ask("a", url), true); got != served {
					t.Errorf("got %+v", got)
				}
				if _, changed := r.since(); len(changed) != 1 {
					t.Errorf("told %v", changed)
				}
			})
		})
	}
}

func TestOneFailureIsNotBelieved(t *testing.T) {
	t.Parallel()
	inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
		pool.Ask(t.Context(), ask("a", url), false)
		for range 20 {
			r.since()
			r.set(url, errRefused)
			for { // until it has failed once
				wait(time.Second)
				if asked, _ := r.since(); asked[url] > 0 {
					break
				}
			}
			r.set(url, nil)
			wait(30 * time.Second)
			if got := pool.Ask(t.Context(), ask("a", url), false); got != served {
				t.Fatalf("got %+v", got)
			}
		}
	})
}

// A URL that leads nowhere costs two probes a minute, and its object no reconcile while the answer is the same.
func TestProbesOfAURLThatLeadsNowhereAreBounded(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"refuses": errRefused, "hangs": errHang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
				r.set(url, answer)
				pool.Ask(t.Context(), ask("a", url), false)
				wait(time.Minute)
				if asked, _ := r.since(); asked[url] > 11 {
					t.Errorf("%d probes in the first minute", asked[url])
				}
				wait(10 * time.Minute)
				if asked, changed := r.since(); asked[url] > 21 || len(changed) != 0 {
					t.Errorf("%d probes in ten minutes, told %v", asked[url], changed)
				}
			})
		})
	}
}

// Hanging URLs of one namespace, at one host or at many, delay neither another namespace nor another host.
func TestHangingURLsDelayNobodyElse(t *testing.T) {
	t.Parallel()
	inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
		begin := func(namespace, url string) {
			question := ask(namespace, url)
			question.Object.Name = url
			r.set(url, errHang)
			go pool.Ask(t.Context(), question, false)
		}
		for i := range 200 {
			begin("one", fmt.Sprint("https://hangs.example/", i))
			begin("many", fmt.Sprintf("https://hangs%d.example/", i))
		}
		wait(time.Second)
		for _, question := range []probe.Question{ask("other", url), ask("one", url)} {
			start := time.Now()
			for pool.Ask(t.Context(), question, false) != served {
				if time.Since(start) > 5*time.Second {
					t.Fatalf("%s waits for longer than 5 s", question.Object)
				}
			}
		}
	})
}

// A question with a key ends with its answer; one that nobody asks any more ends too.
func TestProbesEnd(t *testing.T) {
	t.Parallel()
	inPool(t, func(t *testing.T, pool *probe.Pool, r *receivers) {
		keyed := ask("a", url)
		keyed.Key = "key"
		for _, question := range []probe.Question{ask("a", url), keyed} {
			if got := pool.Ask(t.Context(), question, false); got != served {
				t.Errorf("got %+v", got)
			}
		}
		wait(time.Hour)
		if asked, _ := r.since(); asked[url+"key"] != 1 || asked[url] < 20 {
			t.Errorf("asked %v", asked)
		}
		pool.Forget(ask("a", url).Object)
		wait(time.Hour)
		if asked, _ := r.since(); len(asked) != 0 {
			t.Errorf("asked %v after the object was gone", asked)
		}
	})
}
