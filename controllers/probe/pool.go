package probe

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/fairqueue"
)

const (
	// DefaultInterval is how often a receiver is asked for a URL that it serves, within 10 %.
	DefaultInterval = 2 * time.Minute
	// defaultWait is how long a reconcile waits for an answer. Most receivers answer in less.
	defaultWait = 100 * time.Millisecond
	// lostAfter is how many probes in a row must fail, confirmPause apart, before a URL that was served counts as lost:
	// one failure may be a restart, or a lost packet.
	lostAfter    = 3
	confirmPause = 10 * time.Second
	// How soon to probe a URL again that is not served. A watch brings a receiver its route in milliseconds; one that does
	// not get it, or does not run, is asked less and less often.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// shares bound the probes that are in flight. A server of a user's choice may hold each of them until its time-out.
var shares = fairqueue.Options{Workers: 16, Slow: 100 * time.Millisecond, PerTenant: 16, PerGroup: 4}

// PoolOptions configures a [Pool]. Prober and Changed are required.
type PoolOptions struct {
	Prober interface { // which is a [Prober], except in tests
		Probe(ctx context.Context, registered, key string, sidecar bool) error
	}
	Changed  func(ctx context.Context, object types.NamespacedName) // called when there is an answer that nobody has got
	Interval time.Duration                                          // default DefaultInterval
	Wait     time.Duration                                          // for an answer; default 100 ms
}

// Pool asks receivers beside the reconciles, as long as objects ask for answers, and keeps the last answer for each.
// Namespaces have fair shares of it, and within a namespace its hosts.
type Pool struct {
	options PoolOptions
	queue   *fairqueue.Queue
	ctx     context.Context //nolint:containedctx // of all probes
	stop    context.CancelFunc

	mu      sync.Mutex
	entries map[entryKey]*entry
}

// Question is what a receiver is asked: whether it serves the URL of an object's generation with a key, if there is one.
type Question struct {
	Object     types.NamespacedName
	UID        types.UID
	Generation int64
	URL, Key   string
	Sidecar    bool
}

// Answer is the last answer to a question. An answer to another question, such as that of an earlier generation, is none.
type Answer struct {
	Known bool
	Err   error // nil if the URL is served
	Lost  bool  // it was served
}

// entryKey tells the two questions of an object apart.
type entryKey struct {
	object types.NamespacedName
	keyed  bool
}

// entry is a question that is asked again and again.
type entry struct {
	question Question
	timer    *time.Timer
	stop     context.CancelFunc // of the probe in flight, nil without one
	gone     bool               // nobody wants the answer any more

	answer   Answer
	answered chan struct{} // closed with the first answer
	failures int           // in a row
	pause    time.Duration // before the next probe while the URL is not served
	unheard  bool          // somebody stopped waiting for the answer
}

// NewPool returns a pool that asks nothing yet.
func NewPool(options PoolOptions) *Pool {
	if options.Interval == 0 {
		options.Interval = DefaultInterval
	}
	if options.Wait == 0 {
		options.Wait = defaultWait
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Pool{options: options, queue: fairqueue.New(shares), ctx: ctx, stop: stop, entries: map[entryKey]*entry{}}
}

// Start ends the probes when the context ends.
func (p *Pool) Start(ctx context.Context) error {
	<-ctx.Done()
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.entries {
		p.drop(key)
	}
	return nil
}

// Ask returns the last answer to a question. It waits a moment for the first one; if that comes later, the pool calls
// Changed. The pool goes on asking, and calls Changed whenever the answer becomes another one.
//
// A question that is trusted was answered before the operator started: the URL counts as served until probes have failed.
func (p *Pool) Ask(ctx context.Context, question Question, trusted bool) Answer {
	key := entryKey{question.Object, question.Key != ""}
	p.mu.Lock()
	e := p.entries[key]
	if e == nil || e.question != question {
		p.drop(key)
		e = p.begin(key, question, trusted) //nolint:contextcheck // a probe outlives the reconcile
	}
	p.mu.Unlock()
	wait := time.NewTimer(p.options.Wait)
	defer wait.Stop()
	select {
	case <-e.answered:
	case <-wait.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e.unheard = !e.answer.Known
	if e.answer.Known && e.answer.Err == nil && key.keyed { // a receiver that has a key keeps it
		p.drop(key)
	}
	return e.answer
}

// Forget ends the questions of an object. Their answers do not count any more.
func (p *Pool) Forget(object types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(entryKey{object, false})
	p.drop(entryKey{object, true})
}

// Renew makes the answer to a question, or to an earlier one of its kind, count no more: what the receiver was given has changed.
func (p *Pool) Renew(question Question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(entryKey{question.Object, question.Key != ""})
}

// begin makes an entry. The caller holds mu.
func (p *Pool) begin(key entryKey, question Question, trusted bool) *entry {
	e := &entry{question: question, answered: make(chan struct{})}
	p.entries[key] = e
	if !trusted {
		p.enqueue(e)
		return e
	}
	e.answer.Known = true
	close(e.answered)
	p.schedule(e, time.Duration(rand.Float64()*float64(p.options.Interval))) //nolint:gosec // no secret
	return e
}

// drop ends an entry, if there is one. The caller holds mu.
func (p *Pool) drop(key entryKey) {
	e := p.entries[key]
	if e == nil {
		return
	}
	delete(p.entries, key)
	e.gone = true
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.stop != nil {
		e.stop()
	}
}

// schedule probes after a pause. The caller holds mu.
func (p *Pool) schedule(e *entry, pause time.Duration) {
	e.timer = time.AfterFunc(pause, func() { p.enqueue(e) })
}

func (p *Pool) enqueue(e *entry) {
	host := ""
	if target, err := url.Parse(e.question.URL); err == nil {
		host = target.Host
	}
	p.queue.Add(fairqueue.Job{Tenant: e.question.Object.Namespace, Group: host, Run: func() { p.probe(e) }})
}

// probe asks the receiver, keeps its answer, and decides when to ask again.
func (p *Pool) probe(e *entry) {
	p.mu.Lock()
	if e.gone {
		p.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, Timeout)
	defer cancel()
	e.stop = cancel
	p.mu.Unlock()
	err := p.options.Prober.Probe(ctx, e.question.URL, e.question.Key, e.question.Sidecar)
	p.mu.Lock()
	e.stop = nil
	if e.gone {
		p.mu.Unlock()
		return
	}
	changed := e.record(err)
	p.schedule(e, e.next(p.options.Interval))
	p.mu.Unlock()
	if changed {
		p.options.Changed(p.ctx, e.question.Object)
	}
}

// record keeps the outcome of a probe, and reports whether somebody has to hear of it.
func (e *entry) record(err error) bool {
	before := e.answer
	if e.failures++; err == nil {
		e.failures, e.pause = 0, 0
	}
	lost := before.Known && before.Err == nil && err != nil
	if lost && e.failures < lostAfter {
		return false
	}
	e.answer = Answer{Known: true, Err: err, Lost: err != nil && (lost || before.Lost)}
	if !before.Known {
		close(e.answered)
		return e.unheard
	}
	return (before.Err == nil) != (err == nil) || err != nil && before.Err.Error() != err.Error()
}

// next returns the pause before the next probe.
func (e *entry) next(interval time.Duration) time.Duration {
	switch {
	case e.failures == 0:
		return time.Duration((0.9 + rand.Float64()/5) * float64(interval)) //nolint:gosec // no secret
	case e.answer.Err == nil:
		return min(confirmPause, interval)
	case e.answer.Lost:
		return min(lastRetry, interval)
	}
	e.pause = min(max(2*e.pause, firstRetry), lastRetry)
	return e.pause
}
