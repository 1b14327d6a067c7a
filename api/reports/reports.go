// Package reports is the form in which receivers report delivery to the operator.
//
// A receiver sends a report when the state of a webhook changes, and all of them every interval. A report that was lost is
// replaced by the next one, so losing reports never changes delivery. Times are ages in seconds as the receiver measured
// them, because its clock may differ from the operator's.
package reports

// Path is where the operator takes reports, by POST of a JSON [Report].
const Path = "/v1/reports"

// Audience is the audience of the ServiceAccount token that a receiver sends as a bearer token.
const Audience = "mandrill-operator"

// Limits of one report. A receiver with more webhooks sends several, each with its own Sequence.
const (
	MaxBytes    = 1 << 20
	MaxWebhooks = 1000
)

// IntervalSeconds is the time between reports of a receiver whose webhooks do not change.
const IntervalSeconds = 30

// Version is the version of the form. Fields are only added to a version; unknown fields are ignored.
const Version = 1

// Report is the state of one receiver and of some of its webhooks.
type Report struct {
	Version  int    `json:"version"`
	Receiver string `json:"receiver"` // name of the pod, or of the host
	Instance string `json:"instance"` // random, one per process
	Sequence uint64 `json:"sequence"` // grows with each report of an instance; a report with a lower one is out of order

	// Stopping is set in the last report of a receiver that stops in order, so that nobody waits for its next one.
	Stopping bool      `json:"stopping,omitempty"`
	Buffer   *Buffer   `json:"buffer,omitempty"` // absent in Direct mode
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Buffer is the state of a receiver's buffer.
type Buffer struct {
	// ID is the same for receivers that share a buffer: each of them counts what waits in it, so it must not be added up.
	ID        string      `json:"id"`
	State     BufferState `json:"state"`
	Delivers  bool        `json:"delivers"` // whether this receiver delivers from the buffer, or some webhooks of a shared one
	UsedBytes int64       `json:"usedBytes"`
	MaxBytes  int64       `json:"maxBytes"`
}

// BufferState is the state of a buffer.
type BufferState string

// The states of a buffer.
const (
	BufferAvailable   BufferState = "Available"
	BufferFull        BufferState = "Full"        // batches are answered with 503 until there is space
	BufferUnavailable BufferState = "Unavailable" // batches are answered with 503
)

// Webhook is the delivery of one webhook by one receiver.
type Webhook struct {
	Name string `json:"name"` // namespace/name of the object

	// Delivers says that this receiver delivers the webhook from the buffer. Of those that share a buffer, one at a time does.
	Delivers         bool     `json:"delivers,omitempty"`
	WaitingEvents    int64    `json:"waitingEvents,omitempty"`
	WaitingBytes     int64    `json:"waitingBytes,omitempty"`
	OldestWaitingAge *float64 `json:"oldestWaitingAge,omitempty"` // seconds since the oldest waiting batch was accepted

	ReceivedEvents   uint64   `json:"receivedEvents,omitempty"`  // since the process started
	DeliveredEvents  uint64   `json:"deliveredEvents,omitempty"` // since the process started
	LastReceivedAge  *float64 `json:"lastReceivedAge,omitempty"`
	LastDeliveredAge *float64 `json:"lastDeliveredAge,omitempty"`

	// Failure is the last failed attempt. It stays after later attempts succeed.
	Failure *Failure `json:"failure,omitempty"`
	// FailingFor is the time in seconds since the first of the failed attempts that no success followed. It is absent if
	// the last attempt succeeded.
	FailingFor  *float64 `json:"failingFor,omitempty"`
	CircuitOpen bool     `json:"circuitOpen,omitempty"`

	DeadLetters  int64 `json:"deadLetters,omitempty"`  // held in the buffer
	LostMessages int64 `json:"lostMessages,omitempty"` // batches that vanished from the buffer since the process started

	LastBadSignatureAge *float64 `json:"lastBadSignatureAge,omitempty"` // a batch whose signature matches no key: the key may have been reset
}

// Failure is a failed attempt to deliver. It holds neither payload nor address.
type Failure struct {
	Reason Reason  `json:"reason"`
	Status int     `json:"status,omitempty"` // of the sink's answer, if it answered
	Age    float64 `json:"age"`              // in seconds
}

// Reason is why an attempt to deliver failed.
type Reason string

// The reasons for which an attempt fails.
const (
	ReasonUnresolved  Reason = "Unresolved"  // the sink's name was not resolved
	ReasonUnreachable Reason = "Unreachable" // no connection
	ReasonTLS         Reason = "TLS"         // the sink's certificate was not accepted
	ReasonTimeout     Reason = "Timeout"     // no answer in time
	ReasonNoAnswer    Reason = "NoAnswer"    // the connection ended without an answer
	ReasonStatus      Reason = "Status"      // an answer after which the event is sent again, as 5xx
	ReasonOverloaded  Reason = "Overloaded"  // 429, or 503 with Retry-After
	ReasonRefused     Reason = "Refused"     // an answer after which the event is not sent again, as 4xx: it becomes a dead letter
	ReasonForbidden   Reason = "Forbidden"   // the receiver may not connect to the sink's address
	ReasonToken       Reason = "Token"       // no token for the sink could be had
	ReasonOther       Reason = "Other"
)

// Reasons are all reasons. The last one stands for what is not in the list.
var Reasons = []Reason{
	ReasonUnresolved, ReasonUnreachable, ReasonTLS, ReasonTimeout, ReasonNoAnswer, ReasonStatus, ReasonOverloaded, ReasonRefused, ReasonForbidden,
	ReasonToken, ReasonOther,
}
