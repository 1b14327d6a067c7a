package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ExpectEvents says that events are expected.
type ExpectEvents struct {
	// Within is the longest time without any event that is normal, an ISO 8601 duration from 10 minutes to 9999 hours. After
	// it, the condition Receiving is False. Mandrill's counters tell whether there was nothing to send (Silent) or whether
	// what it sent did not arrive (NotArriving).
	//
	// +required
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^PT([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,4}S)?$') && self != 'PT' && duration(self.substring(2).lowerAscii()) >= duration('10m')",message="expectEvents.within must be an ISO 8601 duration of at least 10 minutes: write PT6H for six hours, or PT48H for two days"
	Within string `json:"within"`
}

// DeliveryStatus is what the receivers report about the delivery of a webhook's events. Several receivers are added up.
type DeliveryStatus struct {
	// WaitingEvents is how many events wait in the buffer, 0 if none has waited for half a minute.
	//
	// +optional
	WaitingEvents int64 `json:"waitingEvents"`
	// OldestWaitingAt is when the oldest waiting batch was accepted.
	//
	// +optional
	OldestWaitingAt *metav1.Time `json:"oldestWaitingAt,omitempty"`
	// LastReceivedAt is when a receiver last accepted a batch with events.
	//
	// +optional
	LastReceivedAt *metav1.Time `json:"lastReceivedAt,omitempty"`
	// LastDeliveredAt is when the sink last accepted an event.
	//
	// +optional
	LastDeliveredAt *metav1.Time `json:"lastDeliveredAt,omitempty"`
	// DeadLetters is how many dead letters the buffers hold.
	//
	// +optional
	DeadLetters int64 `json:"deadLetters"`
	// LostMessages is how many stored batches have vanished from the buffers, such as with a file that is gone.
	//
	// +optional
	LostMessages int64 `json:"lostMessages,omitempty"`
	// LastFailure is the last attempt that failed. It may be over.
	//
	// +optional
	LastFailure *DeliveryFailure `json:"lastFailure,omitempty"`
	// Receivers that report about the webhook.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Receivers []ReporterStatus `json:"receivers,omitempty"`
}

// DeliveryFailure is an attempt to deliver that failed.
type DeliveryFailure struct {
	// Reason is Unresolved, Unreachable, TLS, Timeout, NoAnswer, Status, Overloaded, Refused, Forbidden, Token or Other.
	Reason string `json:"reason"`
	// Status of the sink's answer, if it answered.
	//
	// +optional
	Status int32 `json:"status,omitempty"`
	// At is when the attempt failed.
	At metav1.Time `json:"at"`
}

// ReporterStatus is a receiver that reports about the webhook.
type ReporterStatus struct {
	// Name of the receiver's pod.
	Name string `json:"name"`
	// Silent is true if the receiver has not reported for two intervals. What it reported last may not hold any more.
	//
	// +optional
	Silent bool `json:"silent,omitempty"`
	// LastReportAt is when a silent receiver last reported.
	//
	// +optional
	LastReportAt *metav1.Time `json:"lastReportAt,omitempty"`
}
