package delivery

import (
	"cmp"
	"time"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

// Timing says how soon things are shown. The zero value has the defaults; tests shorten them.
type Timing struct {
	Interval   time.Duration // between the reports of a receiver
	Late       time.Duration // how late a report may be
	Forget     time.Duration // after which a silent receiver is forgotten
	Hysteresis time.Duration // how long a sink fails before Delivered is False
	Pass       time.Duration // between two looks at all objects
	Spacing    time.Duration // between two writes of an object's status
	Soon, Lazy time.Duration // as Spacing, for changes that matter less
	Reminder   time.Duration // between two Events about what lasts
	Recent     time.Duration // how long new dead letters make Delivered False
	Refresh    time.Duration // how old the times of a busy webhook may be
}

// defaults of a Timing.
var defaults = Timing{
	Interval: form.IntervalSeconds * time.Second, Late: 15 * time.Second, Forget: 10 * time.Minute, Hysteresis: time.Minute,
	Pass: 5 * time.Second, Spacing: 30 * time.Second, Soon: 2 * time.Minute, Lazy: 10 * time.Minute,
	Reminder: time.Hour, Recent: 10 * time.Minute, Refresh: 5 * time.Minute,
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Interval: cmp.Or(t.Interval, defaults.Interval), Late: cmp.Or(t.Late, defaults.Late), Forget: cmp.Or(t.Forget, defaults.Forget),
		Hysteresis: cmp.Or(t.Hysteresis, defaults.Hysteresis), Pass: cmp.Or(t.Pass, defaults.Pass),
		Spacing: cmp.Or(t.Spacing, defaults.Spacing), Soon: cmp.Or(t.Soon, defaults.Soon), Lazy: cmp.Or(t.Lazy, defaults.Lazy),
		Reminder: cmp.Or(t.Reminder, defaults.Reminder), Recent: cmp.Or(t.Recent, defaults.Recent), Refresh: cmp.Or(t.Refresh, defaults.Refresh),
	}
}

// silentAfter is when a receiver is silent: after two intervals, and what a report may be late.
func (t Timing) silentAfter() time.Duration { return 2*t.Interval + t.Late }

// refreshFor is how old the times of a busy webhook may be among so many objects, so that all of them cost two writes a second
// at most.
func (t Timing) refreshFor(objects int) time.Duration {
	return max(t.Refresh, time.Duration(objects)*time.Second/refreshesPerSecond)
}

const refreshesPerSecond = 2
