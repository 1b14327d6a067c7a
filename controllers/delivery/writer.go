package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

const (
	// FieldOwner owns what the writer applies, so that it and the reconciler write beside each other without conflicts.
	FieldOwner = client.FieldOwner("mandrill-operator-delivery")
	// writers and writesPerSecond spread writes when a sink of thousands of objects fails.
	writers         = 4
	writesPerSecond = 50
	// remindersPerPass spreads Events about what lasts.
	remindersPerPass = 50
)

// WriterOptions configures a [Writer]. Client, Recorder, Objects, Store and Handles are required.
type WriterOptions struct {
	Client   client.Client
	Recorder events.EventRecorder
	Objects  *Objects
	Store    *Store
	Handles  func(*v1alpha1.MandrillWebhook) bool // whether an object is the installation's
	Alerts   Alerts                               // optional
	Resync   time.Duration                        // how often each account is listed
	Metrics  *Metrics
	Timing   Timing
	Now      func() time.Time
}

// Writer writes the conditions Delivered, Receiving and AlertSinkReady, and status.delivery. The manager runs it on the leader only.
type Writer struct {
	options WriterOptions

	mu       sync.Mutex
	began    time.Time // zero before it runs
	trackers map[types.UID]*tracker
	reminded int // Events about what lasts, in this pass
}

// NewWriter returns a writer.
func NewWriter(options WriterOptions) *Writer {
	if options.Now == nil {
		options.Now = time.Now
	}
	options.Timing = options.Timing.withDefaults()
	return &Writer{options: options, trackers: map[types.UID]*tracker{}}
}

// Start looks at all objects again and again until the context ends.
func (w *Writer) Start(ctx context.Context) error {
	ticker := time.NewTicker(w.options.Timing.Pass)
	defer ticker.Stop()
	for {
		w.Pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// change is a write of an object's status.
type change struct {
	view      view
	tracker   *tracker
	how       urgency
	delivered verdict
	receiving verdict
	alerts    verdict
	status    *v1alpha1.DeliveryStatus
}

// Pass looks at all objects once, and writes what is due.
func (w *Writer) Pass(ctx context.Context) {
	now, list := w.options.Now(), w.options.Objects.All()
	w.mu.Lock()
	if w.began.IsZero() {
		w.began = now
	}
	w.reminded = 0
	w.mu.Unlock()
	var due []change
	seen := make(map[types.UID]bool, len(list))
	for _, object := range list {
		if !w.options.Handles(object) || !object.DeletionTimestamp.IsZero() {
			continue
		}
		seen[object.UID] = true
		if changed := w.look(object, len(list), now); changed.how != nothing {
			due = append(due, changed)
		}
	}
	w.forget(seen)
	w.write(ctx, due)
}

// look decides what an object's status is to say, and whether it is written now.
func (w *Writer) look(object *v1alpha1.MandrillWebhook, objects int, now time.Time) change {
	t := w.tracker(object.UID, now)
	v := view{
		object: object, sum: w.options.Store.Summarise(client.ObjectKeyFromObject(object), object.UID), timing: w.options.Timing, now: now,
		since: t.since, settled: now.Sub(w.began) >= w.options.Timing.silentAfter(), grace: 2*w.options.Resync + arrivalGrace,
	}
	t.count(v)
	v.deadLettered, v.unaccounted, v.resumed = t.rose, t.unaccount, t.resumed
	w.remind(v, t)
	next := change{view: v, tracker: t, delivered: v.delivered(), status: v.status(t.lost, t.losses)}
	next.how = conditionUrgency(v.before(v1alpha1.ConditionDelivered), next.delivered, object.Generation)
	if object.Spec.ExpectEvents != nil {
		next.receiving = v.receiving()
		next.how = max(next.how, conditionUrgency(v.before(v1alpha1.ConditionReceiving), next.receiving, object.Generation))
	} else if v.before(v1alpha1.ConditionReceiving) != nil {
		next.how = max(next.how, soon)
	}
	next.alerts = w.alerts(object)
	if object.Spec.AlertSink != nil {
		next.how = max(next.how, conditionUrgency(v.before(v1alpha1.ConditionAlertSinkReady), next.alerts, object.Generation))
	} else if v.before(v1alpha1.ConditionAlertSinkReady) != nil {
		next.how = max(next.how, soon)
	}
	refresh := w.refreshOf(object, objects)
	if v.settled {
		next.how = max(next.how, v.statusUrgency(object.Status.Delivery, next.status, refresh))
	}
	if next.how != nothing && now.Sub(t.wrote) < w.spacing(next, refresh) {
		next.how = nothing
	}
	return next
}

// refreshOf is how old the times of an object's events may be. Silence is counted from them after receivers have restarted.
func (w *Writer) refreshOf(object *v1alpha1.MandrillWebhook, objects int) time.Duration {
	refresh := w.options.Timing.refreshFor(objects)
	if object.Spec.ExpectEvents != nil {
		refresh = min(refresh, w.options.Timing.Refresh)
	}
	return refresh
}

// spacing is how long after the last write a change may follow. The first events after a long time are shown soon.
func (w *Writer) spacing(next change, refresh time.Duration) time.Duration {
	before := next.view.object.Status.Delivery
	if next.how == lazy && before != nil && next.status != nil && advanced(before.LastReceivedAt, next.status.LastReceivedAt, refresh) {
		return w.options.Timing.Spacing
	}
	return w.options.Timing.spacing(next.how)
}

// tracker returns what is remembered of an object.
func (w *Writer) tracker(object types.UID, now time.Time) *tracker {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.trackers[object]
	if t == nil {
		t = &tracker{since: now, failing: now, deadEvent: time.Time{}}
		w.trackers[object] = t
	}
	return t
}

// forget forgets objects that are gone.
func (w *Writer) forget(seen map[types.UID]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for object := range w.trackers {
		if !seen[object] {
			delete(w.trackers, object)
		}
	}
}

// write writes the most urgent changes, as many as fit into a pass. The others are looked at again.
func (w *Writer) write(ctx context.Context, due []change) {
	slices.SortStableFunc(due, func(a, b change) int {
		return cmp.Or(cmp.Compare(b.how, a.how), a.tracker.wrote.Compare(b.tracker.wrote))
	})
	due = due[:min(len(due), max(writers, int(writesPerSecond*w.options.Timing.Pass.Seconds())))]
	var group errgroup.Group
	group.SetLimit(writers)
	failures := make([]error, len(due))
	for i, next := range due {
		group.Go(func() error {
			failures[i] = w.apply(ctx, next)
			return nil
		})
	}
	_ = group.Wait()
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	if len(failures) > 0 && ctx.Err() == nil {
		log.FromContext(ctx).Error(failures[0], "Could not write the delivery of objects, which is tried again", "objects", len(failures))
	}
}

// apply writes the status of one object, and records Events about what it says now.
func (w *Writer) apply(ctx context.Context, next change) error {
	t, object := next.tracker, next.view.object
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote = w.options.Now()
	present := slices.Clone(object.Status.Conditions)
	t.set(&present) // which may be newer than the cache
	conditions := next.conditions(present)
	body, err := configuration(object, conditions, next.status)
	if err != nil {
		return err
	}
	err = w.options.Client.Status().Apply(ctx, body, client.ForceOwnership, FieldOwner)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or is another one of its name
	}
	if w.options.Metrics.written(err); err != nil {
		return fmt.Errorf("writing the delivery of %s: %w", client.ObjectKeyFromObject(object), err)
	}
	w.report(next, present, conditions)
	if t.written = conditions; next.status != nil {
		t.lost, t.losses = next.status.LostMessages, 0
	}
	return nil
}

// conditions are the writer's conditions of an object, as they are to be.
func (c change) conditions(present []metav1.Condition) []metav1.Condition {
	own, present := []metav1.Condition{}, slices.Clone(present)
	spec := c.view.object.Spec
	for name, decided := range map[string]verdict{
		v1alpha1.ConditionDelivered: c.delivered, v1alpha1.ConditionReceiving: c.receiving, v1alpha1.ConditionAlertSinkReady: c.alerts,
	} {
		if name == v1alpha1.ConditionReceiving && spec.ExpectEvents == nil || name == v1alpha1.ConditionAlertSinkReady && spec.AlertSink == nil {
			continue
		}
		before := meta.FindStatusCondition(present, name)
		switch {
		case decided != keep:
			meta.SetStatusCondition(&present, metav1.Condition{
				Type: name, Status: decided.status, Reason: decided.reason, Message: controllers.Truncate(decided.message),
				ObservedGeneration: c.view.object.Generation, LastTransitionTime: whole(c.view.now),
			})
			own = append(own, *meta.FindStatusCondition(present, name))
		case before != nil:
			own = append(own, *before)
		}
	}
	slices.SortFunc(own, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return own
}

// configuration is what the writer applies. Its UID keeps it from another object of the same name.
func configuration(object *v1alpha1.MandrillWebhook, conditions []metav1.Condition, status *v1alpha1.DeliveryStatus) (runtime.ApplyConfiguration, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&applied{conditions, status})
	if err != nil {
		return nil, fmt.Errorf("encoding the delivery: %w", err)
	}
	return client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "MandrillWebhook", "status": fields,
		"metadata": map[string]any{"namespace": object.Namespace, "name": object.Name, "uid": string(object.UID)},
	}}), nil
}

// applied is the writer's part of the status.
type applied struct {
	Conditions []metav1.Condition       `json:"conditions"`
	Delivery   *v1alpha1.DeliveryStatus `json:"delivery,omitempty"`
}

// Hold puts the conditions that were written last into lists of an object's conditions, and holds back the writer until release
// is called: a merge patch writes the list as a whole, and what it was read from may be older.
func (w *Writer) Hold(object types.UID, lists ...*[]metav1.Condition) (release func()) {
	t := w.tracker(object, w.options.Now())
	t.mu.Lock()
	for _, list := range lists {
		t.set(list)
	}
	return t.mu.Unlock
}
