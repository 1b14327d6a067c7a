package events

// The CloudEvents types of alerts: what the operator sends to spec.alertSink of a MandrillWebhook. They are not events of Mandrill.
const (
	TypeSinkFailing   = "io.mandrill-operator.webhook.sink_failing"
	TypeSinkRecovered = "io.mandrill-operator.webhook.sink_recovered"
	TypeDeadLettered  = "io.mandrill-operator.webhook.dead_lettered"
	TypeDisabled      = "io.mandrill-operator.webhook.disabled"
	TypeSilent        = "io.mandrill-operator.webhook.silent"
)

// PrefixAlert is the beginning of the types of alerts.
const PrefixAlert = "io.mandrill-operator.webhook."

// Alerts are the types of alerts. [Parse] knows them as well.
var Alerts = []Type{
	{TypeSinkFailing, func() any { return new(SinkFailing) }},
	{TypeSinkRecovered, func() any { return new(SinkRecovered) }},
	{TypeDeadLettered, func() any { return new(DeadLettered) }},
	{TypeDisabled, func() any { return new(WebhookDisabled) }},
	{TypeSilent, func() any { return new(WebhookSilent) }},
}

// Alert has the fields that all alerts have.
type Alert struct {
	// Namespace of the MandrillWebhook. Defined.
	Namespace string `json:"namespace"`
	// Name of the MandrillWebhook. Defined.
	Name string `json:"name"`
	// Reason is that of the Kubernetes Event that is recorded at the same time. Defined.
	Reason string `json:"reason"`
	// Message says what happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined.
	Message string `json:"message"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// SinkFailing is the data of [TypeSinkFailing]: the sink has accepted nothing for a minute. While that lasts it is sent again every hour.
type SinkFailing struct {
	Alert
	// Condition is the reason of the condition Delivered: SinkFailing, SinkRefusing or CircuitOpen. Defined.
	Condition string `json:"condition,omitempty"`
	// Since is when Delivered became False, a minute after the first failure, in RFC 3339. Defined.
	Since string `json:"since,omitempty"`
	// LastFailure is the last failed attempt. Defined.
	LastFailure *SinkFailure `json:"lastFailure,omitempty"`
	// WaitingEvents is how many events wait for the sink. Defined.
	WaitingEvents int64 `json:"waitingEvents"`
	// OldestWaitingAt is since when the oldest of them waits, in RFC 3339. Defined.
	OldestWaitingAt string `json:"oldestWaitingAt,omitempty"`
}

// SinkFailure is a failed attempt to deliver, as in status.delivery.lastFailure of the object.
type SinkFailure struct {
	// Reason is one of Unresolved, Unreachable, TLS, Timeout, NoAnswer, Status, Overloaded, Refused, Forbidden, Token or Other. Defined.
	Reason string `json:"reason"`
	// Status is that of the sink's answer. Absent: it did not answer. Defined.
	Status int64 `json:"status,omitempty"`
	// At is when the attempt failed, in RFC 3339. Defined.
	At string `json:"at"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// SinkRecovered is the data of [TypeSinkRecovered]: the sink accepts events again.
type SinkRecovered struct {
	Alert
	// WaitingEvents is how many events still wait for the sink. Defined.
	WaitingEvents int64 `json:"waitingEvents"`
}

// DeadLettered is the data of [TypeDeadLettered]: events were given up and became dead letters. It is sent at most every hour.
type DeadLettered struct {
	Alert
	// DeadLetters is how many dead letters there are now. Defined.
	DeadLetters int64 `json:"deadLetters"`
}

// WebhookDisabled is the data of [TypeDisabled]: Mandrill has disabled the webhook because too many batches failed, and the operator
// enables it again.
type WebhookDisabled struct {
	Alert
	// WebhookID is the ID of the webhook at Mandrill. Defined.
	WebhookID int64 `json:"webhookID"`
}

// WebhookSilent is the data of [TypeSilent]: no events arrive although spec.expectEvents expects them. The reason is Silent if Mandrill
// sends nothing, and NotArriving if it sends batches that no receiver accepts.
type WebhookSilent struct {
	Alert
	// LastReceivedAt is when a receiver last accepted a batch, in RFC 3339. Absent: it never did. Defined.
	LastReceivedAt string `json:"lastReceivedAt,omitempty"`
}

// MarshalJSON encodes the normal form.
func (v Alert) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Alert) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SinkFailing) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SinkFailing) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SinkFailure) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SinkFailure) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SinkRecovered) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SinkRecovered) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DeadLettered) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DeadLettered) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v WebhookDisabled) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *WebhookDisabled) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v WebhookSilent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *WebhookSilent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }
