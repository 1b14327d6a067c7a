package delivery

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// A status is written when it says something new. What changes all the time is written seldom, or together with something else,
// so that an object at rest is never written, and a busy one a few times an hour:
//
//   - a condition whose status changes, and lost messages: at once, at most every Timing.Spacing
//   - a receiver that becomes silent or reports again, dead letters by a tenth, waiting events by a factor of two: Timing.Soon
//   - messages and reasons of conditions that stay False, the last failure, the names of receivers: Timing.Lazy
//   - the times of the last events: Timing.Refresh, and more among many objects
type urgency int

const (
	nothing urgency = iota
	lazy
	soon
	urgent
)

const (
	// inFlight is how long an event may wait that is on its way.
	inFlight = 30 * time.Second
	// backlog is how long the oldest event waits before the count of waiting ones is worth a write of its own.
	backlog = 2 * time.Minute
)

// status returns what status.delivery is to be. Without a receiver that reports, the counts stay as they were.
//
// Lost messages are added to those that were counted before, which may be newer than the object in the cache.
func (v view) status(lost, losses int64) *v1alpha1.DeliveryStatus {
	next := &v1alpha1.DeliveryStatus{}
	if before := v.object.Status.Delivery; before != nil {
		next = before.DeepCopy()
	} else if v.sum.LastReport.IsZero() {
		return nil // nobody has reported anything
	}
	next.LostMessages = max(next.LostMessages, lost) + losses
	next.LastReceivedAt = laterTime(next.LastReceivedAt, v.sum.Received)
	next.LastDeliveredAt = laterTime(next.LastDeliveredAt, v.sum.Delivered)
	if failed := v.sum.Failure; failed != nil && (next.LastFailure == nil || failed.at.After(next.LastFailure.At.Time)) {
		next.LastFailure = &v1alpha1.DeliveryFailure{Reason: string(failed.reason), Status: int32(failed.status), At: whole(failed.at)} //nolint:gosec // at most 999
	}
	next.Receivers = nil
	for _, receiver := range v.sum.Receivers {
		shown := v1alpha1.ReporterStatus{Name: receiver.Name, Silent: receiver.Silent}
		if receiver.Silent {
			at := whole(receiver.LastReport)
			shown.LastReportAt = &at
		}
		next.Receivers = append(next.Receivers, shown)
	}
	if v.sum.Live == 0 {
		return next
	}
	next.DeadLetters, next.WaitingEvents, next.OldestWaitingAt = v.sum.DeadLetters, 0, nil
	if v.sum.Waiting > 0 && !v.sum.Oldest.IsZero() && v.now.Sub(v.sum.Oldest) >= inFlight {
		oldest := whole(v.sum.Oldest)
		next.WaitingEvents, next.OldestWaitingAt = v.sum.Waiting, &oldest
	}
	return next
}

func whole(at time.Time) metav1.Time { return metav1.NewTime(at.Truncate(time.Second)) }

// laterTime returns the later of two times.
func laterTime(before *metav1.Time, now time.Time) *metav1.Time {
	if now.IsZero() || before != nil && !now.Truncate(time.Second).After(before.Time) {
		return before
	}
	at := whole(now)
	return &at
}

// statusUrgency says how soon a change of status.delivery is to be written.
func (v view) statusUrgency(before, next *v1alpha1.DeliveryStatus, refresh time.Duration) urgency {
	switch {
	case next == nil:
		return nothing
	case before == nil:
		before = &v1alpha1.DeliveryStatus{}
	}
	switch {
	case next.LostMessages > before.LostMessages:
		return urgent
	case countChanged(before.DeadLetters, next.DeadLetters, 10), v.backlogChanged(before, next), !slices.Equal(silent(before), silent(next)):
		return soon
	case failureChanged(before.LastFailure, next.LastFailure), len(before.Receivers) != len(next.Receivers), !sameNames(before, next),
		advanced(before.LastReceivedAt, next.LastReceivedAt, refresh), advanced(before.LastDeliveredAt, next.LastDeliveredAt, refresh):
		return lazy
	}
	return nothing
}

// countChanged reports whether a count changed by more than one in so many, or from or to zero.
func countChanged(before, now, one int64) bool {
	difference := max(now-before, before-now)
	return difference > 0 && (before == 0 || now == 0 || difference*one >= before)
}

// backlogChanged reports whether the waiting events have become many more or less. Events that come and go do not count.
func (v view) backlogChanged(before, next *v1alpha1.DeliveryStatus) bool {
	switch {
	case next.WaitingEvents == 0:
		return before.WaitingEvents > 0
	case v.now.Sub(v.sum.Oldest) < backlog:
		return false
	}
	return before.WaitingEvents == 0 || next.WaitingEvents >= 2*before.WaitingEvents || 2*next.WaitingEvents <= before.WaitingEvents
}

// silent returns the names of the silent receivers.
func silent(status *v1alpha1.DeliveryStatus) (names []string) {
	for _, receiver := range status.Receivers {
		if receiver.Silent {
			names = append(names, receiver.Name)
		}
	}
	return names
}

func sameNames(a, b *v1alpha1.DeliveryStatus) bool {
	for i := range a.Receivers {
		if a.Receivers[i].Name != b.Receivers[i].Name {
			return false
		}
	}
	return true
}

func failureChanged(before, now *v1alpha1.DeliveryFailure) bool {
	return now != nil && (before == nil || before.Reason != now.Reason || before.Status != now.Status)
}

// advanced reports whether a time is newer by so much.
func advanced(before, now *metav1.Time, by time.Duration) bool {
	return now != nil && (before == nil || now.Sub(before.Time) >= by)
}

// conditionUrgency says how soon a condition is to be written.
func conditionUrgency(before *metav1.Condition, next verdict, generation int64) urgency {
	switch {
	case next == keep:
		return nothing
	case before == nil || before.Status != next.status:
		return urgent
	case before.Reason != next.reason && isSinks(before.Reason) && isSinks(next.reason): // one outage, seen better
		return lazy
	case before.Reason != next.reason:
		return urgent
	case before.ObservedGeneration != generation:
		return soon
	case before.Message != next.message:
		return lazy
	}
	return nothing
}

// spacing is how long after a write the next one may follow.
func (t Timing) spacing(how urgency) time.Duration {
	return map[urgency]time.Duration{lazy: t.Lazy, soon: t.Soon, urgent: t.Spacing}[how]
}
