package delivery

import (
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// tracker is what the writer remembers of an object. It is in memory only: what must survive a restart is in the status.
type tracker struct {
	since     time.Time // when the object was first seen
	reckoned  bool      // the counts of the status have been compared with the receivers'
	wrote     time.Time // last write, or attempt to
	lost      int64     // lost messages, as written last
	losses    int64     // lost messages that are not written yet
	dead      int64     // dead letters that no Event has reported yet
	rose      time.Time // when dead letters were last added
	resumed   time.Time // when spec.suspend was last seen
	unaccount time.Time // when Mandrill's counters first rose although nothing had arrived for long, and nothing has since
	batches   int64     // that Mandrill had sent when its counters were last looked at
	counted   bool      // they were

	failing, deadEvent time.Time // when Events last reported these

	mu      sync.Mutex         // held during a write of the object's status
	written []metav1.Condition // last; nil before the first write
}

// count takes what has changed since the last look. Until all receivers can have reported nothing is compared; then the status
// says what is known.
func (t *tracker) count(v view) {
	before := v.object.Status.Delivery
	switch {
	case !v.settled:
	case !t.reckoned:
		t.reckoned = true
		if before != nil {
			t.losses += max(0, v.sum.HeldLosses-before.LostMessages)
			t.addDead(max(0, v.sum.DeadLetters-before.DeadLetters), v.now)
		} else {
			t.losses += v.sum.HeldLosses
		}
	default:
		t.losses += v.sum.NewLosses
		t.addDead(v.sum.NewDeadLetters, v.now)
	}
	if v.object.Spec.Suspend {
		t.resumed = v.now
	}
	if upstream := v.object.Status.Upstream; upstream != nil {
		last := v.lastReceived()
		open := t.unaccount.After(later(last, t.resumed)) && !isAccounted(t.unaccount, last, v.grace)
		if t.counted && upstream.BatchesSent > t.batches && v.now.Sub(last) > v.grace && !open {
			t.unaccount = v.now
		}
		t.batches, t.counted = upstream.BatchesSent, true
	}
}

// isAccounted reports whether events that were received account for a rise of Mandrill's counters, which may be seen before they are
// reported.
func isAccounted(rise, received time.Time, grace time.Duration) bool {
	return !received.IsZero() && rise.Sub(received) < grace
}

func (t *tracker) addDead(count int64, now time.Time) {
	if count > 0 {
		t.dead, t.rose = t.dead+count, now
	}
}

// writersConditions are the conditions that the writer writes.
var writersConditions = []string{v1alpha1.ConditionDelivered, v1alpha1.ConditionReceiving, v1alpha1.ConditionAlertSinkReady}

// set puts the conditions that were written last into a list.
func (t *tracker) set(list *[]metav1.Condition) {
	if t.written == nil {
		return
	}
	var kept []metav1.Condition
	for _, condition := range *list {
		if !slices.Contains(writersConditions, condition.Type) {
			kept = append(kept, condition)
		}
	}
	*list = append(kept, t.written...)
}
