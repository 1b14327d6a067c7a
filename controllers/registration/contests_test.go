package registration_test

import (
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
)

const interval = 5 * time.Minute

// rival is one of two operators, and what it finds at Mandrill.
type rival struct {
	contests registration.Contests
	want     string
	writes   int
}

var subject = registration.Contested{Object: "uid", Subject: "webhook"}

// poll lets the rival look at the webhook, and write it if it may.
func (r *rival) poll(webhook *string, now time.Time) (paused time.Duration) {
	if *webhook != r.want {
		if wait := r.contests.Changed(subject, registration.Change{Want: r.want, Have: *webhook, Limit: registration.WebhookChanges}, now); wait > 0 {
			return wait
		}
		*webhook = r.want
		r.writes++
	}
	r.contests.InOrder(subject, r.want, now)
	return 0
}

// Two operators that change a webhook back by turns stop after two rounds, and write less and less often.
func TestContestEndsInPauses(t *testing.T) {
	t.Parallel()
	a, b := &rival{want: "a"}, &rival{want: "b"}
	a.contests.Interval, b.contests.Interval = interval, interval
	webhook, now := "", time.Unix(0, 0)
	poll := func(duration time.Duration) int {
		before := a.writes + b.writes
		for range duration / interval {
			now = now.Add(interval)
			a.poll(&webhook, now)
			b.poll(&webhook, now)
		}
		return a.writes + b.writes - before
	}
	if got := poll(time.Hour); got > 8 {
		t.Errorf("%d writes in the first hour", got)
	}
	poll(10 * time.Hour)
	if got := poll(24 * time.Hour); got > 24/4*2 {
		t.Errorf("%d writes on the second day", got)
	}
	b.want = "a" // the remedy
	poll(4 * time.Hour)
	if got := poll(24 * time.Hour); webhook != "a" || got != 0 {
		t.Errorf("after the remedy the webhook is %q, with %d more writes", webhook, got)
	}
}

// What is no contest: changes of the object itself, writes that fail, changes to something else each time, and rare ones.
func TestChangesThatAreNoContest(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(r *rival, i int) (have string, after time.Duration, written bool){
		"the spec changes": func(r *rival, i int) (string, time.Duration, bool) {
			r.want = string(rune('c' + i))
			return "b", time.Minute, true
		},
		"writes fail":           func(*rival, int) (string, time.Duration, bool) { return "b", time.Second, false },
		"another state":         func(_ *rival, i int) (string, time.Duration, bool) { return string(rune('c' + i)), time.Minute, true },
		"a state, now and then": func(*rival, int) (string, time.Duration, bool) { return "b", 31 * time.Minute, true },
	} {
		r := &rival{want: "a"}
		r.contests.Interval = interval
		now := time.Unix(0, 0)
		r.contests.InOrder(subject, "a", now)
		for i := range 10 {
			have, after, written := step(r, i)
			now = now.Add(after)
			if wait := r.contests.Changed(subject, registration.Change{Want: r.want, Have: have, Limit: registration.WebhookChanges}, now); wait > 0 {
				t.Fatalf("%s: contested at change %d", name, i)
			}
			if written {
				r.contests.InOrder(subject, r.want, now)
			}
		}
	}
}

// After a restart a contest goes on where the status says that there was one, and the first change counts where it says that the
// webhook was in order.
func TestContestsSurviveARestart(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	change := registration.Change{Want: "a", Have: "b", Limit: 1, WasContested: true}
	contests := registration.Contests{Interval: interval}
	if wait := contests.Changed(subject, change, now); wait != 30*time.Minute {
		t.Errorf("the pause is %s", wait)
	}
	change.WasContested, change.WasInOrder = false, true
	contests = registration.Contests{Interval: interval}
	if wait := contests.Changed(subject, change, now); wait == 0 {
		t.Error("a change of what was in order does not count")
	}
	contests.Forget(subject.Object)
	change.WasInOrder = false
	if wait := contests.Changed(subject, change, now); wait != 0 {
		t.Error("a forgotten object is contested")
	}
}

// When the lease changes hands, the operator that had it may have one call for an object on its way, or some writes of a Secret. They
// arrive after the next operator has written what the spec says by now: that is nobody else's doing.
func TestLateWritesOfTheFormerLeaderAreNoContest(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"a webhook": registration.WebhookChanges, "a Secret": registration.SecretChanges} {
		contests, now := registration.Contests{Interval: interval}, time.Unix(0, 0)
		change := registration.Change{Want: "new", Have: "old", Limit: limit} // the status is of an earlier generation
		for late := range limit {
			if wait := contests.Changed(subject, change, now); wait > 0 {
				t.Errorf("%s: contested after %d late writes", name, late)
			}
			contests.InOrder(subject, change.Want, now)
			now = now.Add(time.Second)
		}
	}
}
