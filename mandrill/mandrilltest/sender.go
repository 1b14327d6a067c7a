package mandrilltest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Posts is the name under which posts of batches fail, see [Server.Fail].
const Posts = "posts"

var errNoAnswer = errors.New("no answer, as the emulator was told")

// pending is an event that waits to be posted. hook is nil for the event of an inbound route.
type pending struct {
	raw  []byte
	hook *webhook
}

// queue is the events that wait for one URL. While its first batch fails, nothing else is posted to the URL.
type queue struct {
	account *Account
	url     string
	flush   chan chan struct{}
	stopped <-chan struct{} // closed when the emulator is reset or closed
	// the server's mutex guards what follows
	waiting []pending
	batch   []pending // in progress
	attempt int       // attempts made for batch
}

// enqueue adds an event for a URL. The caller holds the server's mutex.
func (a *Account) enqueue(url string, hook *webhook, raw []byte) {
	q := a.queues[url]
	if q == nil {
		ctx := a.server.posting
		q = &queue{account: a, url: url, flush: make(chan chan struct{}), stopped: ctx.Done()}
		a.queues[url] = q
		a.server.senders.Go(func() { q.run(ctx) })
	}
	q.waiting = append(q.waiting, pending{raw, hook})
}

// Emit generates one event of each given kind, or of all kinds without arguments. It queues each for the webhooks that
// subscribe to it, or for the inbound routes, and returns the events as they will be sent. All are queued at once: no post
// comes between them. With an unknown kind it queues none and returns an error; an event without subscribers is not an error.
func (a *Account) Emit(names ...string) ([][]byte, error) { return a.EmitFor(Message{}, names...) }

// EmitFor is [Account.Emit] for a message.
func (a *Account) EmitFor(message Message, names ...string) ([][]byte, error) {
	if len(names) == 0 {
		names = Kinds()
	}
	chosen := make([]kind, len(names))
	for i, name := range names {
		var err error
		if chosen[i], err = kindNamed(name); err != nil {
			return nil, err
		}
	}
	events := make([][]byte, len(chosen))
	for i, k := range chosen {
		a.server.mu.Lock()
		id, now := a.server.newMessageID(), a.server.clock.now()
		a.server.mu.Unlock()
		events[i] = message.apply(k.generate(id, now)) // takes long for many events, so the server goes on meanwhile
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	for i, k := range chosen {
		a.publish(k.subscription, events[i])
	}
	return events, nil
}

// EmitRaw queues an event, unchanged, for every webhook that subscribes to the wire name.
func (a *Account) EmitRaw(subscription string, event []byte) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.publish(subscription, event)
}

// publish queues an event for its subscribers, and returns how many there are. An empty subscription means inbound routes.
func (a *Account) publish(subscription string, event []byte) (subscribers int) {
	for _, w := range a.webhooks {
		if subscription != "" && slices.Contains(w.events, subscription) {
			a.enqueue(w.url, w, event)
			subscribers++
		}
	}
	for _, d := range a.domains {
		for _, r := range d.routes {
			if subscription == "" {
				a.enqueue(r.url, nil, event)
				subscribers++
			}
		}
	}
	return subscribers
}

// SendTest queues the events that the "send test" button of the web interface sends: one of each subscribed type, or two if
// there is only one type, signed with the webhook's own key.
func (a *Account) SendTest(id int64) ([][]byte, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	w, err := a.webhook(id)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(w.events)
	if len(names) == 1 {
		names = append(names, names[0])
	}
	var events [][]byte
	for _, name := range names {
		at := slices.IndexFunc(kinds, func(k kind) bool { return k.subscription == name })
		event := kinds[at].generate(a.server.newMessageID(), a.server.clock.now())
		events = append(events, event)
		a.enqueue(w.url, w, event)
	}
	return events, nil
}

// Flush makes all senders post now, including retries, and returns when each has made an attempt.
func (s *Server) Flush(ctx context.Context) error {
	s.mu.Lock()
	s.runDue() //nolint:contextcheck // senders live as long as the server
	var queues []*queue
	for _, a := range s.accounts {
		for _, q := range a.queues {
			queues = append(queues, q)
		}
	}
	s.mu.Unlock()
	for _, q := range queues {
		done := make(chan struct{})
		select {
		case q.flush <- done:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.stopped:
			return context.Canceled
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Advance sets the clock forward, and makes the events of messages happen whose time has come.
func (s *Server) Advance(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.advanceTo(s.clock.now().Add(by))
	s.runDue()
}

// Finish sets the clock forward until everything has happened to all messages, and posts the events.
func (s *Server) Finish(ctx context.Context) error {
	s.mu.Lock()
	for len(s.steps) > 0 {
		s.clock.advanceTo(s.steps[len(s.steps)-1].at)
		s.runDue() //nolint:contextcheck // senders live as long as the server
	}
	s.mu.Unlock()
	return s.Flush(ctx)
}

// Waiting returns the number of events that wait to be posted, including those of batches in progress.
func (a *Account) Waiting() int {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	n := 0
	for _, q := range a.queues {
		n += len(q.waiting) + len(q.batch)
	}
	return n
}

func (q *queue) run(ctx context.Context) {
	s := q.account.server
	pause := s.options.BatchInterval
	for {
		flushed, ok := wait(ctx, s.clock, s.clock.now().Add(pause), q.flush)
		if !ok {
			return
		}
		pause = s.options.BatchInterval
		for q.next() {
			if !q.post(ctx) {
				pause = s.jitter(s.options.RetryInterval)
				break
			}
		}
		if flushed != nil {
			close(flushed)
		}
	}
}

// next starts a batch unless one is in progress, and reports whether there is one now. A batch has up to 1,000 consecutive
// events of one webhook. Events of deleted webhooks are dropped.
func (q *queue) next() bool {
	s := q.account.server
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := func(p pending) bool { return p.hook != nil && !slices.Contains(q.account.webhooks, p.hook) }
	if len(q.batch) > 0 && gone(q.batch[0]) {
		q.batch = nil
	}
	q.waiting = slices.DeleteFunc(q.waiting, gone)
	if len(q.batch) == 0 && len(q.waiting) > 0 {
		signer := q.signer(q.waiting[0].hook)
		n := 1
		for n < len(q.waiting) && n < mandrill.MaxBatchEvents && q.signer(q.waiting[n].hook) == signer {
			n++
		}
		q.batch, q.waiting, q.attempt = slices.Clone(q.waiting[:n]), q.waiting[n:], 0
	}
	return len(q.batch) > 0
}

// signer returns the webhook whose key signs an event: its own or, for inbound, the one at the same URL.
func (q *queue) signer(hook *webhook) *webhook {
	if hook != nil {
		return hook
	}
	for _, w := range q.account.webhooks {
		if w.url == q.url {
			return w
		}
	}
	return nil
}

// post sends the batch in progress once, and reports whether the next batch may be sent.
func (q *queue) post(ctx context.Context) bool {
	s := q.account.server
	s.mu.Lock()
	signer := q.signer(q.batch[0].hook)
	key := q.account.routeKeys[q.url]
	delivery := Delivery{URL: q.url, Attempt: q.attempt + 1, At: s.clock.now()}
	if signer != nil {
		key, delivery.Webhook = signer.key, signer.id
	} else if key == "" {
		key = s.newSigningKey()
		q.account.routeKeys[q.url] = key
	}
	for _, p := range q.batch {
		delivery.Events = append(delivery.Events, p.raw)
	}
	q.attempt++
	fault, faulty := s.takeFaultOf(Posts)
	s.mu.Unlock()

	if !faulty || fault.After {
		request, err := NewRequest(ctx, q.url, q.url, key, Batch(delivery.Events...))
		if err == nil {
			delivery.Status, delivery.Answer, err = s.do(request)
		}
		delivery.Err = err
	}
	if faulty {
		delivery.Status, delivery.Answer, delivery.Err = fault.Status, fault.Message, nil
		if fault.Status == 0 {
			delivery.Err = errNoAnswer
		}
	}
	if ctx.Err() != nil {
		return false
	}
	delivery = q.account.record(delivery)
	if s.options.OnDelivery != nil {
		s.options.OnDelivery(delivery)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if delivery.Err == nil && delivery.Status == http.StatusOK {
		if signer != nil {
			signer.batchesSent++
			signer.eventsSent += int64(len(delivery.Events))
			signer.lastSentAt, signer.failures = s.clock.now(), 0
		}
		q.batch = nil
		return true
	}
	return q.failed(signer, delivery.Status, delivery.Err)
}

// failed records a failed attempt, and reports whether the batch was given up, so that the next one may be sent.
func (q *queue) failed(signer *webhook, status int, err error) bool {
	options := q.account.server.options
	text := fmt.Sprintf("the server answered with status %d", status)
	if err != nil {
		text = cause(err)
	}
	options.Logger.Info("Post failed", "attempt", q.attempt, "events", len(q.batch), "error", text)
	if signer != nil {
		signer.lastError = &text
		if signer.failures++; signer.failures >= options.DisableAfter {
			signer.events = []string{}
		}
	}
	if q.attempt < options.MaxAttempts {
		return false
	}
	q.batch = nil
	return true
}
