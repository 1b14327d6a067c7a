package delivery

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

// lossMemory is how long the counts of a receiver that does not report any more are remembered.
const lossMemory = 24 * time.Hour

// maxGroups bounds what is remembered of receivers of an object that do not report any more.
const maxGroups = 2 * maxReceiversPerObject

// Summary is what the receivers of an object report, added up.
type Summary struct {
	Receivers  []Receiver // sorted by name
	Live       int        // receivers that are not silent
	LastReport time.Time  // of any receiver, also of one that has stopped; zero without one

	Waiting                     int64
	Oldest, Received, Delivered time.Time
	FailingSince                time.Time // zero if the last attempt succeeded
	Doubtful                    bool      // a silent receiver said that it fails
	CircuitOpen                 bool
	Failure                     *failure // the last one
	DeadLetters                 int64
	Buffer                      form.BufferState // the state in which the buffers of all receivers are, else Available
	BufferSince                 time.Time

	NewDeadLetters, NewLosses int64 // since the summary before this one
	HeldLosses                int64 // that the receivers count
}

// Receiver is a receiver of an object.
type Receiver struct {
	Name       string
	LastReport time.Time
	Silent     bool
}

// held is what a buffer, or a receiver without one, counted in the last summary.
type held struct {
	deadLetters, lost int64
	at                time.Time
}

// Summarise adds up what the receivers of an object report.
func (s *Store) Summarise(object types.NamespacedName, uid types.UID) Summary {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	about := s.objects[object]
	if about == nil || about.uid != uid {
		return Summary{}
	}
	sum := Summary{LastReport: about.last, Buffer: form.BufferAvailable}
	var live []*entry
	for _, e := range about.entries {
		if e.receiver.gone {
			continue
		}
		silent := now.Sub(e.receiver.last) > s.options.Timing.silentAfter()
		sum.Receivers = append(sum.Receivers, Receiver{e.receiver.name, e.receiver.last, silent})
		if sum.latest(e); !silent {
			live = append(live, e)
		}
	}
	slices.SortFunc(sum.Receivers, func(a, b Receiver) int { return cmp.Compare(a.Name, b.Name) })
	sum.Live = len(live)
	sum.addBuffers(live)
	for key, group := range groupsOf(about.entries) {
		sum.add(key, group, about.groups, now)
	}
	for _, e := range about.entries {
		sum.fail(e, slices.Contains(live, e))
	}
	for key, group := range about.groups {
		if age := now.Sub(group.at); age > lossMemory || age > 0 && len(about.groups) > maxGroups {
			delete(about.groups, key)
		}
	}
	return sum
}

// latest takes times that are true whatever has become of the receiver.
func (s *Summary) latest(e *entry) {
	s.Received, s.Delivered = later(s.Received, e.received), later(s.Delivered, e.delivered)
	if e.failure != nil && (s.Failure == nil || e.failure.at.After(s.Failure.at)) {
		s.Failure = e.failure
	}
}

// fail takes the failure of a receiver. It is over if the sink has accepted events of another receiver since then, unless events
// wait for this one.
func (s *Summary) fail(e *entry, live bool) {
	if e.receiver.gone || e.failingSince.IsZero() || e.failure == nil {
		return
	}
	if e.waiting == 0 && s.Delivered.After(e.delivered) && s.Delivered.After(e.failure.at) {
		return
	}
	if !live {
		s.Doubtful = true
		return
	}
	s.FailingSince = earlier(s.FailingSince, e.failingSince)
	s.CircuitOpen = s.CircuitOpen || e.circuitOpen
}

// addBuffers takes the state of the buffers if it is the same everywhere: while one receiver has space, Mandrill reaches that one.
func (s *Summary) addBuffers(live []*entry) {
	for i, e := range live {
		state := e.receiver.buffer
		if !e.receiver.buffered || state != form.BufferFull && state != form.BufferUnavailable {
			s.Buffer = form.BufferAvailable
			return
		}
		if i == 0 || state == form.BufferUnavailable {
			s.Buffer = state
		}
		s.BufferSince = later(s.BufferSince, e.receiver.bufferSince)
	}
}

// groupsOf divides entries by the buffer that their receivers share.
func groupsOf(entries []*entry) map[string][]*entry {
	groups := map[string][]*entry{}
	for _, e := range entries {
		if e.receiver.gone {
			continue
		}
		key := "receiver/" + e.receiver.name
		if e.receiver.buffered {
			key = "buffer/" + e.receiver.bufferID
		}
		groups[key] = append(groups[key], e)
	}
	return groups
}

// counting orders what receivers that share a buffer say of a webhook: the one that delivers it counts, the last one while the webhook
// moves from one to another. An older receiver says only that it delivers.
func counting(a, b *entry) int {
	return cmp.Or(compare(a.delivers, b.delivers), compare(a.receiver.delivers, b.receiver.delivers), func() int {
		if a.delivers || a.receiver.delivers {
			return a.at.Compare(b.at)
		}
		return cmp.Compare(a.waiting, b.waiting)
	}())
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// add adds what a buffer holds. Receivers that share it count the same, so one counts for all.
func (s *Summary) add(key string, group []*entry, known map[string]*held, now time.Time) {
	counts, lost := group[0], int64(0)
	for _, e := range group {
		if counting(e, counts) > 0 {
			counts = e
		}
		lost = max(lost, e.lost)
	}
	s.Waiting += counts.waiting
	s.Oldest = earlier(s.Oldest, counts.oldest)
	s.DeadLetters += counts.deadLetters
	s.HeldLosses += lost
	before := known[key]
	if before == nil {
		before = &held{deadLetters: counts.deadLetters}
		known[key] = before
	}
	s.NewDeadLetters += max(0, counts.deadLetters-before.deadLetters)
	s.NewLosses += max(0, lost-before.lost)
	before.deadLetters, before.lost, before.at = counts.deadLetters, lost, now
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier returns the earlier of two times, where zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// reasonOf returns one of the reasons that this operator knows.
func reasonOf(reason form.Reason) form.Reason {
	if i := slices.Index(form.Reasons, reason); i >= 0 {
		return form.Reasons[i] // not the text of the report, which would keep all of it in memory
	}
	return form.ReasonOther
}
