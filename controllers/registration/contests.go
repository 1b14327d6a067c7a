package registration

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Two operators that want different things of one webhook change it back by turns, without end, and so does any program or person
// who insists. An operator that notices it gives way: it leaves the webhook as it is for a pause, in intervals of the poll.
const (
	contestWindow = 6  // for how long a change is remembered
	contestPause  = 6  // the first pause
	maxContest    = 48 // the longest pause
)

// How often somebody else must change something to the same state before it is contested.
const (
	WebhookChanges = 2 // a webhook, which is polled
	SecretChanges  = 5 // a Secret, which is watched, and which people may edit
)

// Contested is something of an object that somebody else may change.
type Contested struct {
	Object  types.UID
	Subject string
}

// Change is a state that is not the wanted one.
type Change struct {
	Want, Have   string
	Limit        int  // WebhookChanges or SecretChanges
	WasInOrder   bool // as the status says, before the operator restarted
	WasContested bool // the same
}

// Contests notices that somebody else changes back what the operator writes. It is in memory only.
type Contests struct {
	Interval time.Duration // of the poll

	mu   sync.Mutex
	list map[Contested]*contest
}

// contest is what is known about one subject.
type contest struct {
	want    string    // that the operator writes
	inOrder bool      // it was as wanted after the last change
	changes []seen    // by others, within the window
	until   time.Time // when the operator tries again; zero if it does not pause
	tried   time.Time // when the last pause ended
	pause   time.Duration
}

type seen struct {
	at   time.Time
	have string
}

// InOrder records that a subject is as it is wanted. That ends a contest.
func (c *Contests) InOrder(subject Contested, want string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.of(subject, want)
	o.inOrder = true
	if !o.until.IsZero() {
		o.until, o.tried = time.Time{}, now
	}
}

// Changed returns how long to leave a subject as it is that is not as it is wanted. Zero means that it may be written.
func (c *Contests) Changed(subject Contested, change Change, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.list[subject] != nil && c.list[subject].want == change.Want
	o := c.of(subject, change.Want)
	if !known {
		o.inOrder = change.WasInOrder
	}
	switch {
	case !known && change.WasContested:
		return c.begin(o, now)
	case now.Before(o.until):
		return o.until.Sub(now)
	case !o.until.IsZero(): // one attempt after each pause
		o.until, o.tried = time.Time{}, now
		return 0
	case !o.inOrder: // the object's own change, or one that is not written yet
		return 0
	}
	o.inOrder = false
	if o.record(change.Have, now, contestWindow*c.Interval) >= change.Limit || c.wasContested(o, now) {
		return c.begin(o, now)
	}
	return 0
}

// of returns what is known about a subject. Whatever was known for another wish does not count.
func (c *Contests) of(subject Contested, want string) *contest {
	if c.list == nil {
		c.list = map[Contested]*contest{}
	}
	if o := c.list[subject]; o == nil || o.want != want {
		c.list[subject] = &contest{want: want, pause: contestPause * c.Interval}
	}
	return c.list[subject]
}

// record adds a change and returns how many led to the same state.
func (o *contest) record(have string, now time.Time, window time.Duration) int {
	recent, same := []seen{{now, have}}, 1
	for _, earlier := range o.changes {
		if now.Sub(earlier.at) < window {
			recent = append(recent, earlier)
			if earlier.have == have {
				same++
			}
		}
	}
	o.changes = recent
	return same
}

// wasContested reports whether the last contest is so recent that the next change continues it: the other side may pause too.
func (c *Contests) wasContested(o *contest, now time.Time) bool {
	return !o.tried.IsZero() && now.Sub(o.tried) < 2*maxContest*c.Interval
}

// FirstPause is how long a contest lasts at least.
func (c *Contests) FirstPause() time.Duration { return contestPause * c.Interval }

// begin begins a pause. Each is twice as long as the one before it, if that was not long ago.
func (c *Contests) begin(o *contest, now time.Time) time.Duration {
	if !c.wasContested(o, now) {
		o.pause = contestPause * c.Interval
	}
	wait := o.pause
	o.until, o.changes = now.Add(wait), nil
	o.pause = min(2*o.pause, maxContest*c.Interval)
	return wait
}

// Forget forgets an object.
func (c *Contests) Forget(object types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for subject := range c.list {
		if subject.Object == object {
			delete(c.list, subject)
		}
	}
}
