// Package report sends the state of delivery to the operator, which shows it on the objects.
//
// Reports are best effort: each has the whole state of its webhooks, so the next one replaces one that was lost. Nothing waits for a
// report, and an operator that hangs, refuses or is gone changes nothing in the delivery of events.
package report

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// minGap is the shortest time between reports of changes.
	minGap = time.Second
	// jitter is the part of the interval by which receivers differ, so that they do not all report at once.
	jitter = 0.1
	// After a failed report the next one is sent after minPause, and then after twice as long each time, up to the interval.
	// An operator that takes no reports may be asked more rarely, up to maxUnsupportedPause.
	minPause            = time.Second
	maxUnsupportedPause = 10 * time.Minute
	// postTimeout bounds one request, lastTimeout all requests while the receiver stops.
	postTimeout = 5 * time.Second
	lastTimeout = 2 * time.Second
)

// Source is the state of delivery. [delivery.State] is one.
type Source interface {
	// Changed returns a channel that holds an element when somebody should hear of a change at once.
	Changed() <-chan struct{}
	// Changes returns the webhooks that changed since the last call, Snapshot returns all.
	Changes() []reports.Webhook
	Snapshot() []reports.Webhook
	// Buffer returns the state of the buffer, nil without one.
	Buffer() *reports.Buffer
}

// Options configures a [Sender]. URL, Source, Receiver, Instance and Metrics are required.
type Options struct {
	URL        string // of the operator
	TokenFile  string // with a bearer token, read for each report; a file that does not exist is no token
	Source     Source
	Receiver   string       // name of the pod, or of the host
	Instance   string       // random, one per process
	Metrics    *Metrics     // of NewMetrics
	HTTPClient *http.Client // default: a new one; redirects are never followed
	Logger     *slog.Logger // default: slog.Default()
	Interval   time.Duration
}

// Sender sends reports.
type Sender struct {
	options  Options
	endpoint string
	client   http.Client
	sequence uint64
	outage   outage

	mu     sync.Mutex // guards status
	status Status
}

// Status says whether reports reach the operator.
type Status struct {
	LastAccepted time.Time // zero: never
	Failure      string    // of the last report; empty: it was accepted
}

// New returns a sender. It sends nothing until it runs.
func New(options Options) *Sender {
	options.Interval = cmp.Or(options.Interval, reports.IntervalSeconds*time.Second)
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	s := &Sender{options: options, endpoint: strings.TrimSuffix(options.URL, "/") + reports.Path, outage: outage{logger: options.Logger}}
	if options.HTTPClient != nil {
		s.client = *options.HTTPClient
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// Status returns whether reports reach the operator.
func (s *Sender) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run sends all webhooks every interval, and those that changed at once, until the context ends. Then it sends a last report.
func (s *Sender) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := s.options.Source.Changed()
		if s.outage.failures > 0 {
			changed = nil // the next report has all
		}
		var err error
		select {
		case <-ctx.Done():
			s.sendLast(ctx)
			return
		case <-timer.C:
			err = s.send(ctx, s.all, false)
			timer.Reset(s.next(err))
		case <-changed:
			if err = s.send(ctx, s.options.Source.Changes, false); err != nil {
				timer.Reset(s.next(err))
			}
		}
		if err == nil && !sleep(ctx, minGap) {
			s.sendLast(ctx)
			return
		}
	}
}

func (s *Sender) all() []reports.Webhook {
	s.options.Source.Changes() // all of them are in this report
	return s.options.Source.Snapshot()
}

// next returns when all webhooks are sent again.
func (s *Sender) next(err error) time.Duration {
	interval := s.options.Interval
	if err == nil {
		return time.Duration(float64(interval) * (1 - jitter*rand.Float64())) //nolint:gosec // nobody must guess it
	}
	longest := interval
	if isUnsupported(err) {
		longest = max(maxUnsupportedPause, interval)
	}
	return min(minPause<<min(max(s.outage.failures-1, 0), 20), longest)
}

func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sendLast says that the receiver stops.
func (s *Sender) sendLast(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	_ = s.send(bounded, s.all, true) // it was logged if it must be
}

// send sends webhooks in as many reports as they need. Only the last one of a receiver that stops says so.
func (s *Sender) send(ctx context.Context, webhooks func() []reports.Webhook, stopping bool) error {
	list, buffer := webhooks(), s.options.Source.Buffer()
	for first := true; first || len(list) > 0; first = false {
		report := reports.Report{
			Version: reports.Version, Receiver: s.options.Receiver, Instance: s.options.Instance, Sequence: s.sequence + 1, Buffer: buffer, Stopping: stopping,
		}
		body, sent, err := encode(report, list)
		if err == nil {
			s.sequence++
			err = s.post(ctx, body)
		}
		s.record(ctx, err)
		if err != nil {
			return err
		}
		list = list[sent:]
	}
	return nil
}

// encode encodes a report with as many webhooks as fit, and returns how many these are.
func encode(report reports.Report, webhooks []reports.Webhook) (body []byte, sent int, err error) {
	stopping := report.Stopping
	for sent = min(len(webhooks), reports.MaxWebhooks); ; sent /= 2 {
		report.Webhooks, report.Stopping = webhooks[:sent], stopping && sent == len(webhooks)
		body, err = json.Marshal(report)
		if err != nil || len(body) <= reports.MaxBytes || sent <= 1 {
			return body, sent, err
		}
	}
}
