package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PendingRegistration is one or more calls of webhooks/add for one URL, or of webhooks/update to one URL, whose outcome is not known.
type PendingRegistration struct {
	// URL that was registered, with its userinfo and the parameter of spec.urlSecretRef hidden.
	URL string `json:"url"`
	// Since is when the first call was made.
	Since metav1.Time `json:"since"`
	// Last is when the last call was made.
	Last metav1.Time `json:"last"`
	// Calls is how many were made, and so how many webhooks they may have made.
	Calls int32 `json:"calls"`
	// WebhookID is the webhook that webhooks/update was to move to the URL. It is absent for webhooks/add.
	//
	// +optional
	WebhookID int64 `json:"webhookID,omitempty"`
}

// InboundRouteStatus is an inbound route at Mandrill.
type InboundRouteStatus struct {
	// ID of the route at Mandrill.
	ID string `json:"id"`
	// Domain that receives the mail.
	Domain string `json:"domain"`
	// Pattern of the mailbox part.
	Pattern string `json:"pattern"`
}

// Upstream is what Mandrill reports about the webhook.
type Upstream struct {
	// CreatedAt is when the webhook was created.
	//
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// LastSentAt is when Mandrill last sent a batch.
	//
	// +optional
	LastSentAt *metav1.Time `json:"lastSentAt,omitempty"`
	// BatchesSent since the webhook was created.
	//
	// +optional
	BatchesSent int64 `json:"batchesSent,omitempty"`
	// EventsSent since the webhook was created.
	//
	// +optional
	EventsSent int64 `json:"eventsSent,omitempty"`
	// LastError is the error of the last failed delivery. It may be over.
	//
	// +optional
	LastError string `json:"lastError,omitempty"`
	// LastCheckedAt is when Mandrill last reported a change of the webhook.
	//
	// +optional
	LastCheckedAt *metav1.Time `json:"lastCheckedAt,omitempty"`
}
