package delivery

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/version"
)

// Status is the answer at /status. Times are those of the receiver's clock, in UTC. It holds neither payloads nor addresses.
type Status struct {
	Receiver  string          `json:"receiver"` // name of the pod, or of the host
	Version   string          `json:"version"`
	StartedAt time.Time       `json:"startedAt"`
	At        time.Time       `json:"at"`
	Ready     bool            `json:"ready"`
	NotReady  string          `json:"notReady,omitempty"` // why it is not ready
	Reports   *ReportStatus   `json:"reports,omitempty"`  // absent without an operator
	Buffer    *reports.Buffer `json:"buffer,omitempty"`   // absent in Direct mode, and until the buffer was asked
	Webhooks  []WebhookStatus `json:"webhooks"`
}

// ReportStatus says whether reports reach the operator.
type ReportStatus struct {
	LastAcceptedAt *time.Time `json:"lastAcceptedAt,omitempty"`
	Failure        string     `json:"failure,omitempty"` // of the last report
}

// WebhookStatus is what a report says of a webhook, with times in addition to ages.
type WebhookStatus struct {
	reports.Webhook
	OldestWaitingAt    *time.Time     `json:"oldestWaitingAt,omitempty"`
	LastReceivedAt     *time.Time     `json:"lastReceivedAt,omitempty"`
	LastDeliveredAt    *time.Time     `json:"lastDeliveredAt,omitempty"`
	LastBadSignatureAt *time.Time     `json:"lastBadSignatureAt,omitempty"`
	FailingSince       *time.Time     `json:"failingSince,omitempty"`
	Failure            *FailureStatus `json:"failure,omitempty"`
}

// FailureStatus is the last failed attempt.
type FailureStatus struct {
	reports.Failure
	At time.Time `json:"at"`
}

// StatusOptions configures [State.StatusHandler]. All fields except Reports are required.
type StatusOptions struct {
	Receiver string
	Ready    func(context.Context) error
	Reports  func() ReportStatus // nil: there is no operator
}

// StatusHandler answers with the [Status]. With the parameter webhook it has that webhook alone.
func (s *State) StatusHandler(options StatusOptions) http.Handler {
	started, build := s.now().UTC(), version.Get()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.now().UTC()
		status := Status{
			Receiver: options.Receiver, Version: build.Version, StartedAt: started, At: now, Buffer: s.Buffer(), Webhooks: []WebhookStatus{},
		}
		if err := options.Ready(r.Context()); err != nil {
			status.NotReady = err.Error()
		}
		status.Ready = status.NotReady == ""
		if options.Reports != nil {
			sent := options.Reports()
			status.Reports = &sent
		}
		only := r.URL.Query().Get("webhook")
		for _, webhook := range s.Snapshot() {
			if only == "" || webhook.Name == only {
				status.Webhooks = append(status.Webhooks, webhookStatus(webhook, now))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(status) // the client may have gone
	})
}

func webhookStatus(webhook reports.Webhook, now time.Time) WebhookStatus {
	status := WebhookStatus{
		Webhook: webhook, OldestWaitingAt: before(now, webhook.OldestWaitingAge), LastReceivedAt: before(now, webhook.LastReceivedAge),
		LastDeliveredAt: before(now, webhook.LastDeliveredAge), LastBadSignatureAt: before(now, webhook.LastBadSignatureAge),
		FailingSince: before(now, webhook.FailingFor),
	}
	if failure := webhook.Failure; failure != nil {
		status.Failure = &FailureStatus{*failure, *before(now, &failure.Age)}
	}
	return status
}

// before returns the time that has an age, nil for no age.
func before(now time.Time, age *float64) *time.Time {
	if age == nil {
		return nil
	}
	at := now.Add(-time.Duration(*age * float64(time.Second))).Truncate(time.Millisecond)
	return &at
}
