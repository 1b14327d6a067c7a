// Package delivery shows in the status of objects what receivers report: whether the sink accepts the events, what waits, and
// what was lost.
//
// The [Store] holds what each receiver reported last and adds it up. The [Writer] decides from that, for each object, what its
// conditions Delivered and Receiving say, writes the status when that says something new, and records Kubernetes Events.
package delivery

import (
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/reports"
)

const (
	maxReceivers          = 20000 // a sidecar for each of the most routes
	maxReceiversPerObject = 64
	maxEntries            = 200000 // webhooks of all receivers
	// steady is how much a time may differ between two reports that mean the same moment, because they have ages. It would show in
	// messages otherwise.
	steady = 5 * time.Second
)

// StoreOptions configures a [Store].
type StoreOptions struct {
	Objects *Objects
	Handles func(*v1alpha1.MandrillWebhook) bool // whether an object is the installation's
	Shared  []string                             // ServiceAccounts of the shared receivers, NAMESPACE/NAME
	Metrics *reports.Metrics
	// BadSignature is called for an object that got a batch with a bad signature: its key may have been reset. It must not block.
	BadSignature func(types.NamespacedName)
	Timing       Timing
	Now          func() time.Time
}

// Store holds the last reports. It is in memory only: after a restart, receivers report again within an interval.
type Store struct {
	options StoreOptions

	mu        sync.Mutex
	receivers map[receiverKey]*reporter
	objects   map[types.NamespacedName]*reported
	entries   int
	pruned    time.Time
}

// receiverKey is a receiver. If the token is not bound to a pod, the name is what the receiver claims.
type receiverKey struct{ namespace, account, pod string }

// reporter is a receiver that reports.
type reporter struct {
	name     string
	instance string
	previous string // the instance before, whose late reports do not count
	sequence uint64
	last     time.Time // last report
	gone     bool      // it has stopped, or was forgotten

	buffered    bool
	bufferID    string
	delivers    bool
	buffer      form.BufferState
	bufferSince time.Time // since when the buffer is in that state
}

// reported is what receivers report about an object.
type reported struct {
	uid     types.UID
	entries []*entry
	last    time.Time // last report of any receiver, also of one that is gone

	badSignature time.Time
	groups       map[string]*held // by buffer, or receiver without one
}

// entry is the delivery of an object by one receiver.
type entry struct {
	receiver *reporter
	at       time.Time

	delivers                                  bool
	waiting                                   int64
	oldest, received, delivered, badSignature time.Time
	failingSince                              time.Time // zero if the last attempt succeeded
	failure                                   *failure
	circuitOpen                               bool
	deadLetters, lost                         int64
}

type failure struct {
	reason form.Reason
	status int
	at     time.Time
}

// NewStore returns a store.
func NewStore(options StoreOptions) *Store {
	if options.Now == nil {
		options.Now = time.Now
	}
	options.Timing = options.Timing.withDefaults()
	return &Store{
		options: options, receivers: map[receiverKey]*reporter{}, objects: map[types.NamespacedName]*reported{},
	}
}

// Take implements [reports.Taker].
func (s *Store) Take(from reports.Reporter, report *form.Report) error {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.pruned) > s.options.Timing.Interval {
		s.prune(now)
	}
	key := receiverKey{from.Namespace, from.ServiceAccount, from.Pod}
	if key.pod == "" {
		key.pod = report.Receiver
	}
	receiver, err := s.receiver(key, report)
	if err != nil {
		return err
	}
	if receiver == nil {
		s.options.Metrics.Ignored(reports.IgnoredTooMany, len(report.Webhooks))
		return nil
	}
	receiver.sequence, receiver.last = report.Sequence, now
	if report.Stopping {
		receiver.gone = true
		delete(s.receivers, key)
	}
	receiver.setBuffer(report.Buffer, now)
	for i := range report.Webhooks {
		if reason := s.takeWebhook(from, receiver, &report.Webhooks[i], now); reason != "" {
			s.options.Metrics.Ignored(reason, 1)
		}
	}
	return nil
}

// receiver returns who reports, nil if there are too many. The caller holds mu.
func (s *Store) receiver(key receiverKey, report *form.Report) (*reporter, error) {
	receiver := s.receivers[key]
	switch {
	case receiver == nil && len(s.receivers) >= maxReceivers:
		return nil, nil //nolint:nilnil // said in the comment
	case receiver == nil:
		receiver = &reporter{name: key.pod, instance: strings.Clone(report.Instance)}
		s.receivers[key] = receiver
	case report.Instance == receiver.instance && report.Sequence <= receiver.sequence, report.Instance == receiver.previous:
		return nil, reports.ErrOutOfOrder
	case report.Instance != receiver.instance:
		receiver.previous, receiver.instance = receiver.instance, strings.Clone(report.Instance)
	}
	return receiver, nil
}

func (r *reporter) setBuffer(buffer *form.Buffer, now time.Time) {
	r.buffered = buffer != nil
	if buffer == nil {
		r.bufferID, r.delivers, r.buffer = "", false, ""
		return
	}
	r.bufferID, r.delivers = strings.Clone(buffer.ID), buffer.Delivers
	if r.buffer != buffer.State {
		r.buffer, r.bufferSince = "", now
		for _, state := range []form.BufferState{form.BufferAvailable, form.BufferFull, form.BufferUnavailable} {
			if state == buffer.State {
				r.buffer = state
			}
		}
	}
}

// takeWebhook takes what a receiver reports about a webhook, or returns why it does not. The caller holds mu.
func (s *Store) takeWebhook(from reports.Reporter, receiver *reporter, webhook *form.Webhook, now time.Time) (ignored string) {
	namespace, name, ok := strings.Cut(webhook.Name, "/")
	object := s.options.Objects.Get(types.NamespacedName{Namespace: namespace, Name: name})
	switch {
	case !ok || object == nil || !s.options.Handles(object):
		return reports.IgnoredUnknown
	case !s.allowed(from, object):
		return reports.IgnoredNotAllowed
	case !reports.Valid(webhook):
		return reports.IgnoredInvalid
	}
	key := client.ObjectKeyFromObject(object)
	about := s.objects[key]
	if about == nil || about.uid != object.UID {
		s.drop(key)
		about = &reported{uid: object.UID, groups: map[string]*held{}}
		s.objects[key] = about
	}
	at := slices.IndexFunc(about.entries, func(e *entry) bool { return e.receiver == receiver })
	if at < 0 && (s.entries >= maxEntries || len(about.entries) >= maxReceiversPerObject) {
		return reports.IgnoredTooMany
	}
	var before *entry
	if at >= 0 {
		before = about.entries[at]
	}
	next := newEntry(receiver, webhook, before, object.CreationTimestamp.Time, now)
	about.last = now
	if next.badSignature.After(about.badSignature.Add(steady)) {
		about.badSignature = next.badSignature
		if now.Sub(next.badSignature) < s.options.Timing.silentAfter() {
			s.options.BadSignature(key)
		}
	}
	if at >= 0 {
		about.entries[at] = next
	} else {
		about.entries = append(about.entries, next)
		s.entries++
	}
	return ""
}

// allowed reports whether a reporter can be a receiver of an object.
func (s *Store) allowed(from reports.Reporter, object *v1alpha1.MandrillWebhook) bool {
	shared := slices.Contains(s.options.Shared, from.Namespace+"/"+from.ServiceAccount)
	if object.Spec.Receiver == v1alpha1.ReceiverSidecar {
		return !shared && from.Namespace == object.Namespace
	}
	return shared
}

// newEntry converts ages to times of this machine. Times before the object existed are those of another one of its name, except
// that what waits for that one is delivered for this one.
func newEntry(receiver *reporter, webhook *form.Webhook, before *entry, created, now time.Time) *entry {
	if before == nil {
		before = &entry{}
	}
	ago := func(age *float64) time.Time {
		if age == nil {
			return time.Time{}
		}
		return now.Add(-time.Duration(*age * float64(time.Second)))
	}
	since := func(age *float64) time.Time {
		if at := ago(age); !at.Before(created) {
			return at
		}
		return time.Time{}
	}
	next := &entry{
		receiver: receiver, at: now, delivers: webhook.Delivers, waiting: webhook.WaitingEvents, circuitOpen: webhook.CircuitOpen,
		deadLetters: webhook.DeadLetters, lost: webhook.LostMessages,
		oldest: ago(webhook.OldestWaitingAge), delivered: since(webhook.LastDeliveredAge),
		received:     later(before.received, since(webhook.LastReceivedAge)), // not earlier because a receiver's clock is set forward
		failingSince: since(webhook.FailingFor), badSignature: since(webhook.LastBadSignatureAge),
	}
	if difference := next.failingSince.Sub(before.failingSince); -steady < difference && difference < steady {
		next.failingSince = before.failingSince
	}
	if failed := webhook.Failure; failed != nil {
		if at := since(&failed.Age); !at.IsZero() {
			next.failure = &failure{reasonOf(failed.Reason), failed.Status, at}
		}
	}
	return next
}

// prune forgets receivers that have been silent for long, and what they reported. The caller holds mu.
func (s *Store) prune(now time.Time) {
	s.pruned = now
	for key, receiver := range s.receivers {
		if now.Sub(receiver.last) > s.options.Timing.Forget {
			receiver.gone = true
			delete(s.receivers, key)
		}
	}
	for key, about := range s.objects {
		if object := s.options.Objects.Get(key); object == nil || object.UID != about.uid {
			s.drop(key)
			continue
		}
		before := len(about.entries)
		about.entries = slices.DeleteFunc(about.entries, func(e *entry) bool {
			return e.receiver.gone || e.receiver.last.Sub(e.at) > s.options.Timing.silentAfter() // it does not report the webhook any more
		})
		s.entries -= before - len(about.entries)
	}
}

// drop forgets an object. The caller holds mu.
func (s *Store) drop(key types.NamespacedName) {
	if about := s.objects[key]; about != nil {
		s.entries -= len(about.entries)
		delete(s.objects, key)
	}
}

// Count returns how many receivers report, and how many are silent.
func (s *Store) Count() (reporting, silent int) {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, receiver := range s.receivers {
		if now.Sub(receiver.last) > s.options.Timing.silentAfter() {
			silent++
		} else {
			reporting++
		}
	}
	return reporting, silent
}
