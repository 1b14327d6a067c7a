// Package alerts sends CloudEvents about MandrillWebhooks to their spec.alertSink.
//
// The operator sends them, not the receivers: it knows of all receivers, of Mandrill's counters and of disabled webhooks, and it decides
// when something has lasted long enough to be said. An alert is sent for each Kubernetes Event with one of a few reasons, so both say the
// same at the same time. Nothing waits for an alert: it is put into a queue in memory, and one goroutine sends it.
package alerts

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
)

const (
	// perSecond bounds the requests of all alerts together, when a sink of thousands of objects fails.
	perSecond = 50
	// maxSending and maxSendingOfNamespace bound the sinks that are sent to at the same time, so that those of a namespace that hang
	// do not hold up the alerts of another.
	maxSending            = 64
	maxSendingOfNamespace = 4
	// turn is how many alerts a sink gets before another one has its turn.
	turn = 50
	// requestTimeout bounds one request, lastTimeout all requests while the operator stops.
	requestTimeout = 5 * time.Second
	lastTimeout    = 3 * time.Second
	// After a failed request a sink has a pause, which doubles from minPause to maxPause.
	minPause = time.Second
	maxPause = 5 * time.Minute
	// maxAge is how long an alert is sent again.
	maxAge = 24 * time.Hour
	// hysteresis is how long a sink fails before that is shown, as the failures of other sinks.
	hysteresis = time.Minute
	// An address that was resolved is resolved again after recheck, one that was not after recheckFailed.
	recheck       = 10 * time.Minute
	recheckFailed = time.Minute
	// unused is after how long a sink that no object names any more is forgotten.
	unused = 10 * time.Minute
	// look is how often sinks are looked at whose pause may be over.
	look = time.Second
)

// Options configures an [Alerter]. Resolve, Get and Registerer are required.
type Options struct {
	// Resolve finds the address of an object's alert sink. [sinks.Resolver.ResolveAlerts] is it.
	Resolve func(context.Context, *v1alpha1.MandrillWebhook) (*sinks.Sink, error)
	// Get returns an object, nil if there is none. It is not changed.
	Get        func(types.NamespacedName) *v1alpha1.MandrillWebhook
	Registerer prometheus.Registerer
	AllowHosts []string              // hosts to connect to whatever their address is
	Refuse     func(netip.Addr) bool // default: [routes.LocalAddress]
	Now        func() time.Time
}

// Alerter sends alerts. The manager runs it on the leader only.
type Alerter struct {
	options Options
	metrics *metrics
	limiter *rate.Limiter
	wake    chan struct{}

	mu      sync.Mutex
	targets map[target]*queue
	sending map[string]int // targets that are sent to, by namespace
	group   sync.WaitGroup
}

// New returns an alerter that sends nothing before it runs.
func New(options Options) *Alerter {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Refuse == nil {
		options.Refuse = routes.LocalAddress
	}
	a := &Alerter{
		options: options, limiter: rate.NewLimiter(perSecond, perSecond), wake: make(chan struct{}, 1),
		targets: map[target]*queue{}, sending: map[string]int{},
	}
	a.metrics = newMetrics(options.Registerer, a.waiting)
	return a
}

// Start sends alerts until the context ends. Then those that wait are sent once more.
func (a *Alerter) Start(ctx context.Context) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for ctx.Err() == nil {
		a.launch(ctx)
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-ticker.C:
		}
	}
	a.group.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	a.launch(last)
	a.group.Wait()
	return nil
}

// launch begins to send to all sinks that are due.
func (a *Alerter) launch(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, sending := a.options.Now(), 0
	for _, count := range a.sending {
		sending += count
	}
	for to, q := range a.targets { // in random order, so that none comes first always
		switch {
		case q.isUnused(now):
			delete(a.targets, to)
		case sending >= maxSending || a.sending[to.namespace] >= maxSendingOfNamespace || !q.isDue(now):
		default:
			sending++
			a.sending[to.namespace]++
			q.sending = true
			a.group.Go(func() { a.serve(ctx, to, q) })
		}
	}
}

// serve gives a sink its turn.
func (a *Alerter) serve(ctx context.Context, to target, q *queue) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		q.sending = false
		if a.sending[to.namespace]--; a.sending[to.namespace] == 0 {
			delete(a.sending, to.namespace)
		}
		a.wakeUp()
	}()
	object := a.objectOf(to, q)
	if object == nil {
		return
	}
	found, err := a.resolve(ctx, q, object)
	if err != nil {
		return
	}
	client, done := a.client(found)
	defer done()
	for range turn {
		next := a.next(to, q)
		if next == nil || ctx.Err() != nil || a.limiter.Wait(ctx) != nil {
			return
		}
		if err := post(ctx, client, found.URI, next); !a.sent(ctx, q, next, err) {
			return
		}
	}
}

// wakeUp makes Start look at the sinks.
func (a *Alerter) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
