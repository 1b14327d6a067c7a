package v1alpha1

// DeliveryMode says when a batch is acknowledged to Mandrill.
//
// +kubebuilder:validation:Enum=Buffered;Direct
type DeliveryMode string

// The delivery modes.
const (
	// ModeBuffered acknowledges a batch when it is on disk, and delivers it afterwards.
	ModeBuffered DeliveryMode = "Buffered"
	// ModeDirect acknowledges a batch when the sink, or the dead letter sink, has accepted all of it.
	ModeDirect DeliveryMode = "Direct"
)

// ContentMode is a content mode of the CloudEvents HTTP binding.
//
// +kubebuilder:validation:Enum=Binary;Structured;Batched
type ContentMode string

// The content modes.
const (
	ContentBinary     ContentMode = "Binary"
	ContentStructured ContentMode = "Structured"
	ContentBatched    ContentMode = "Batched"
)

// DataSchemaPolicy says whether CloudEvents have the attribute dataschema.
//
// +kubebuilder:validation:Enum=Include;Omit
type DataSchemaPolicy string

// The policies.
const (
	DataSchemaInclude DataSchemaPolicy = "Include"
	DataSchemaOmit    DataSchemaPolicy = "Omit"
)

// Payload is the form of the data of CloudEvents.
//
// +kubebuilder:validation:Enum=Raw;Normalized
type Payload string

// The forms.
const (
	// PayloadRaw are the bytes that Mandrill sent.
	PayloadRaw Payload = "Raw"
	// PayloadNormalized are the same data without the quirks of what Mandrill sends.
	PayloadNormalized Payload = "Normalized"
)

// Delivery says how CloudEvents are sent. The names are those of Knative's DeliverySpec.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Direct' || has(self.retry) || !has(self.backoffPolicy) && !has(self.backoffDelay)",message="delivery.backoffPolicy and backoffDelay say when the retries are, and in Direct mode there are none without retry: set delivery.retry, or leave them out"
// +kubebuilder:validation:XValidation:rule="!has(self.payload) || self.payload != 'Normalized' || !has(self.dataSchema) || self.dataSchema != 'Omit'",message="delivery.payload Normalized needs dataschema, which says whether the data of an event are in the normal form: leave delivery.dataSchema out, or delivery.payload"
type Delivery struct {
	// Mode says when a batch is acknowledged to Mandrill. Buffered: when it is on disk; its events are delivered
	// afterwards. This needs a receiver with a buffer; without one ReceiverReady is False and nothing is registered.
	// Direct: when the sink, or the dead letter sink, has accepted all of its events, within 30 seconds; otherwise Mandrill
	// sends it again. Default: Buffered if the receiver has a buffer, else Direct.
	//
	// +optional
	Mode DeliveryMode `json:"mode,omitempty"`
	// ContentMode of the requests to the sink. Batched puts up to 100 events or 1 MiB into one request, which the sink
	// accepts or refuses as a whole. Knative brokers do not support it. Default: Binary.
	//
	// +optional
	ContentMode ContentMode `json:"contentMode,omitempty"`
	// DataSchema says whether CloudEvents have the attribute dataschema, the URL of the JSON Schema of their data. Omit it for a
	// consumer that refuses attributes which it does not expect. Default: Include.
	//
	// +optional
	DataSchema DataSchemaPolicy `json:"dataSchema,omitempty"`
	// Payload is the form of the data of CloudEvents. Raw: the bytes that Mandrill sent. Normalized: the same data without the quirks
	// of what Mandrill sends, such as [] for an empty object, as the Go package events encodes them. The attribute dataschema names the
	// schema of the form that an event has: an event that has no normal form is sent Raw. The id is the same in both forms. Default: Raw.
	//
	// +optional
	Payload Payload `json:"payload,omitempty"`
	// Timeout of one request to the sink, an ISO 8601 duration of at most 30 seconds, which in Direct mode is also what a
	// whole batch may take. Default: PT10S.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^PT([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,4}([.][0-9]{1,3})?S)?$') && self != 'PT' && duration(self.substring(2).lowerAscii()) > duration('0s') && duration(self.substring(2).lowerAscii()) <= duration('30s')",message="timeout must be an ISO 8601 duration above zero and of at most 30 seconds: write PT10S for ten seconds"
	Timeout string `json:"timeout,omitempty"`
	// Retry is how often a failed event is sent again. An event that still fails after the last retry becomes a dead
	// letter, see DeadLetterSink. Default in Buffered mode: 10. Default in Direct mode: no retries, and no event becomes a
	// dead letter; Mandrill sends the batch again. If it is set in Direct mode, retries are made within the 30 seconds that
	// a whole batch may take; events that are not delivered by then Mandrill sends again, 15 to 25 minutes later.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Retry *int32 `json:"retry,omitempty"`
	// BackoffPolicy of the retries: linear, which waits BackoffDelay, twice as long, three times as long and so on, or
	// exponential, which waits twice as long each time; neither waits longer than 10 minutes. Default: exponential.
	//
	// +optional
	// +kubebuilder:validation:Enum=linear;exponential
	BackoffPolicy string `json:"backoffPolicy,omitempty"`
	// BackoffDelay before the first retry, an ISO 8601 duration of at most 10 minutes. In Direct mode there is no retry
	// whose delay does not fit into the 30 seconds: Mandrill sends the event again instead. Default: PT1S.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^PT([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,4}([.][0-9]{1,3})?S)?$') && self != 'PT' && duration(self.substring(2).lowerAscii()) > duration('0s') && duration(self.substring(2).lowerAscii()) <= duration('10m')",message="backoffDelay must be an ISO 8601 duration above zero and of at most 10 minutes: write PT1S for one second, or PT1M30S for ninety"
	BackoffDelay string `json:"backoffDelay,omitempty"`
	// DeadLetterSink is where dead letters go: events that the sink refuses permanently, or that failed through all
	// retries. They have the extensions knativeerrordest, knativeerrorcode and knativeerrordata, and are always sent in
	// Binary mode. Events that it accepts count as delivered. Without it, in Buffered mode, dead letters are kept in the
	// receiver's buffer, which is bounded and from which they can be sent again; in Direct mode Mandrill sends their batch
	// again until it gives up, and then they are lost.
	//
	// +optional
	DeadLetterSink *Destination `json:"deadLetterSink,omitempty"`
}
