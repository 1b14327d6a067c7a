package dispatch

import (
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// The bounds of delivery from the buffer.
const (
	// DefaultMemory holds about ten batches of 1000 events.
	DefaultMemory = 32 << 20
	// DefaultDeletedWebhookRetention leaves time to notice that a webhook was deleted by mistake.
	DefaultDeletedWebhookRetention = 24 * time.Hour
	// DefaultMaxAge gives up events that a sink has not accepted for days, before they fill the buffer of everybody.
	DefaultMaxAge = 72 * time.Hour
	// eventMemory estimates what an event takes in memory besides its bytes while it is sent.
	eventMemory = 2 << 10
	// largeEvent is the size from which encoding an event may take much memory.
	largeEvent = 256 << 10
	// A cycle sends up to cycleBytes and cycleEvents of one webhook, which is enough to keep a sink busy. It also takes at
	// most one of memoryShares parts of the memory, so that sinks that hang leave some to others.
	cycleBytes   = 4 << 20
	cycleEvents  = 4000
	memoryShares = 8
	// minCycleEvents is the smallest cycle, for a slow sink. It is more than may be under way to one sink at once.
	minCycleEvents = 100
	// cycleTime is how long a cycle starts new requests. Its progress is saved at the latest when it ends, so that a crash
	// repeats little, and the next cycle does not wait for an event that hangs. Up to maxCycles overlap.
	cycleTime = time.Second
	maxCycles = 4
	// A small cycle takes smallCycleBytes of memory, so that any number of sinks that hang hold little memory. Up to smallCycles
	// of a webhook overlap. A good cycle delivers something and is not slow. A new webhook gets larger cycles after one good
	// cycle. A webhook that failed or was slow gets them after provenCycles good cycles in a row.
	smallCycleBytes = 32 << 10
	provenCycles    = 5
	smallCycles     = 2
	// maxStandings bounds the webhooks whose standing is remembered.
	maxStandings = 50_000
	// slowCycle is how long a cycle may take before its webhook gets memory from the part for slow webhooks. The same
	// goes for webhooks whose cycles are cut short.
	slowCycle = 10 * time.Second
	// maxPendingEvents bounds the events of a webhook that failed and wait for their next attempt. While there are more, no
	// further batches are read, so that the memory for them is bounded.
	maxPendingEvents = 10_000
	// drainTime is how long requests under way may take after the receiver was told to stop. It does not apply when the lease
	// is lost: then they are cancelled at once.
	drainTime = 10 * time.Second
	// settleTime bounds saving the progress of one batch: a disk may be slow, and a cycle has thousands of events.
	settleTime = time.Minute
	// maxDue is how far ahead an event can be due.
	maxDue = sink.MaxPause
	// maxUnsaved bounds the batches of a webhook whose progress is in memory only, because the buffer is full. While there
	// are as many, no further batches are read: after a restart all events of such a batch are sent again.
	maxUnsaved = 8
	// noWait is how long a queue sleeps when only a signal can bring it work.
	noWait = 24 * time.Hour
)
