package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
)

// target is an alert sink as objects of a namespace name it. Objects that name the same share its queue and its pauses.
type target struct{ namespace, destination string }

// targetOf returns the target of an object's alerts.
func targetOf(object *v1alpha1.MandrillWebhook) (target, bool) {
	if object.Spec.AlertSink == nil {
		return target{}, false
	}
	destination, err := json.Marshal(object.Spec.AlertSink)
	return target{object.Namespace, string(destination)}, err == nil
}

// queue are the alerts for a target, and what became of those before.
type queue struct {
	object  types.NamespacedName // the last one that named it
	used    time.Time            // when one last did
	sending bool
	waiting []*alert // the next one first

	checked      time.Time // when the address was last resolved
	failures     int       // in a row
	failingSince time.Time
	pausedUntil  time.Time
	unresolved   error // of the address
	failure      error // of the last request, nil if it succeeded
}

func (q *queue) isUnused(now time.Time) bool {
	return !q.sending && len(q.waiting) == 0 && now.Sub(q.used) > unused
}

// isDue reports whether something is to be done: to send an alert, or to resolve the address again so that its condition is true.
func (q *queue) isDue(now time.Time) bool {
	if q.sending || now.Before(q.pausedUntil) {
		return false
	}
	again := recheck
	if q.unresolved != nil {
		again = recheckFailed
	}
	return len(q.waiting) > 0 && q.unresolved == nil || q.checked.IsZero() || now.Sub(q.checked) >= again
}

// queueOf returns the queue of an object's alert sink, nil if it has none. The caller holds mu.
func (a *Alerter) queueOf(object *v1alpha1.MandrillWebhook) *queue {
	to, ok := targetOf(object)
	if !ok {
		return nil
	}
	q := a.targets[to]
	if q == nil {
		q = &queue{}
		a.targets[to] = q
	}
	q.object, q.used = types.NamespacedName{Namespace: object.Namespace, Name: object.Name}, a.options.Now()
	return q
}

// add puts an alert at the end of a queue. An earlier one of the same type about the same object that still waits is not needed any
// more: so a queue has at most one of each type and object.
func (a *Alerter) add(object *v1alpha1.MandrillWebhook, next *alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.queueOf(object)
	if q == nil {
		return
	}
	before := len(q.waiting)
	q.waiting = slices.DeleteFunc(q.waiting, func(other *alert) bool { return other.uid == next.uid && other.ceType == next.ceType })
	a.metrics.count(outcomeReplaced, before-len(q.waiting))
	q.waiting = append(q.waiting, next)
	a.wakeUp()
}

// objectOf returns an object that names the sink.
func (a *Alerter) objectOf(to target, q *queue) *v1alpha1.MandrillWebhook {
	a.mu.Lock()
	defer a.mu.Unlock()
	candidates := []types.NamespacedName{q.object}
	for _, each := range q.waiting {
		candidates = append(candidates, each.object)
	}
	for _, name := range candidates {
		object := a.options.Get(name)
		if object == nil {
			continue
		}
		if its, ok := targetOf(object); ok && its == to {
			return object
		}
	}
	q.checked = a.options.Now() // nobody names it, so nobody wants to know
	for _, each := range q.waiting {
		a.move(each)
	}
	q.waiting = nil
	return nil
}

// next returns the next alert of a queue, nil if there is none. Those of objects that name another sink now go there. Alerts stay in
// the queue until they are sent.
func (a *Alerter) next(to target, q *queue) *alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(q.waiting) > 0 {
		first := q.waiting[0]
		object := a.options.Get(first.object)
		its, _ := target{}, false
		if object != nil && object.UID == first.uid {
			its, _ = targetOf(object)
		}
		switch {
		case its != to:
			q.waiting = q.waiting[1:]
			a.move(first)
		case a.options.Now().Sub(first.at) > maxAge:
			q.waiting = q.waiting[1:]
			a.metrics.count(outcomeExpired, 1)
		default:
			return first
		}
	}
	return nil
}

// move puts an alert into the queue of the sink that its object names now. The caller holds mu.
func (a *Alerter) move(one *alert) {
	if object := a.options.Get(one.object); object != nil && object.UID == one.uid {
		if q := a.queueOf(object); q != nil {
			q.waiting = append(q.waiting, one)
			return
		}
	}
	a.metrics.count(outcomeUnwanted, 1)
}

// resolve finds the address of a sink, and remembers whether it has one.
func (a *Alerter) resolve(ctx context.Context, q *queue, object *v1alpha1.MandrillWebhook) (*sinks.Sink, error) {
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found, err := a.options.Resolve(bounded, object)
	if err != nil && ctx.Err() != nil { // the operator stops
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	q.checked, q.unresolved = a.options.Now(), err
	return found, err
}

// sent remembers what became of an alert, and reports whether the next one may be sent.
func (a *Alerter) sent(ctx context.Context, q *queue, one *alert, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, refused := a.options.Now(), errors.As(err, new(refusedError))
	if err == nil || refused { // one that was replaced meanwhile is not there any more
		q.waiting = slices.DeleteFunc(q.waiting, func(other *alert) bool { return other == one })
	}
	q.failure = err
	switch {
	case err == nil:
		a.metrics.count(outcomeAccepted, 1)
		q.failures, q.failingSince = 0, time.Time{}
		return true
	case refused:
		a.metrics.count(outcomeRefused, 1)
	default:
		if ctx.Err() != nil { // the operator stops
			return false
		}
		a.metrics.count(outcomeFailed, 1)
	}
	if q.failingSince.IsZero() {
		q.failingSince = now
	}
	if refused {
		return true
	}
	q.pausedUntil = now.Add(min(maxPause, minPause<<min(q.failures, 20)))
	q.failures++
	return false
}

// waiting returns how many alerts wait.
func (a *Alerter) waiting() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	count := 0
	for _, q := range a.targets {
		count += len(q.waiting)
	}
	return float64(count)
}

// Condition says whether an object's alert sink is ready. Without a status it is not known yet, and the condition stays as it is. The
// sinks of objects that it was called for are resolved now and then.
func (a *Alerter) Condition(object *v1alpha1.MandrillWebhook) (status metav1.ConditionStatus, reason, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, now := a.queueOf(object), a.options.Now()
	switch {
	case q == nil || q.checked.IsZero():
		return "", "", ""
	case q.unresolved != nil:
		step := new(controllers.StepError)
		if !errors.As(q.unresolved, &step) {
			return "", "", "" // such as an API server that does not answer
		}
		return metav1.ConditionFalse, step.Reason(), "spec.alertSink: " + q.unresolved.Error()
	case q.failure != nil && len(q.waiting) == 0 && now.Sub(q.failingSince) >= maxAge: // there was nothing else to send since then
	case q.failure != nil && now.Sub(q.failingSince) >= hysteresis:
		return metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, fmt.Sprintf("The alert sink has accepted nothing since %s: %v. Alerts that it does not "+
			"refuse are sent again for a day: repair it, or name another in spec.alertSink", q.failingSince.UTC().Format(time.RFC3339), q.failure)
	}
	return metav1.ConditionTrue, v1alpha1.ReasonSucceeded, readyMessage
}

const readyMessage = "Alerts are sent to spec.alertSink"
