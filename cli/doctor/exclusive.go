package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// maxOthers is how many other webhooks are described.
const maxOthers = 10

// exclusive finds what else has the webhook's URL: webhooks of the account, and what the operator sees in clusters.
func (d *doctor) exclusive(context.Context) []Finding {
	var findings []Finding
	condition := meta.FindStatusCondition(d.webhook.Status.Conditions, v1alpha1.ConditionURLExclusive)
	if condition != nil && condition.Status == metav1.ConditionFalse && condition.Reason != v1alpha1.ReasonOtherWebhooks {
		findings = d.unmet(Fail, condition, condition.Message)
	}
	target := d.url
	if d.remote != nil {
		target = d.remote.URL
	}
	switch {
	case d.notListed != nil:
		return append(findings, skip(errors.New("the account's webhooks could not be listed"))...)
	case target == "":
		return append(findings, skip(d.noURL)...)
	}
	more := 0
	for _, other := range d.listed {
		switch {
		case other.URL != target || d.remote != nil && other.ID == d.remote.ID:
		case len(findings) == maxOthers:
			more++
		default:
			findings = append(findings, d.other(other)...)
		}
	}
	if more > 0 {
		findings = append(findings, finding(Fail, fmt.Sprintf("%d more webhooks of the account have the URL", more), "Delete them in Mandrill too.")...)
	}
	if len(findings) == 0 {
		return ok("no other webhook of the account has the URL")
	}
	return findings
}

// other describes another webhook at the URL, so that people find out whose it is.
func (d *doctor) other(webhook mandrill.Webhook) []Finding {
	about := []string{fmt.Sprintf("webhook %d", webhook.ID)}
	if webhook.Description != "" {
		about[0] += fmt.Sprintf(" %q", webhook.Description)
	}
	if !webhook.CreatedAt.IsZero() {
		about = append(about, "made on "+webhook.CreatedAt.UTC().Format("2006-01-02"))
	}
	events := "no events, because Mandrill has disabled it"
	if len(webhook.Events) > 0 {
		events = "events " + strings.Join(webhook.Events, " ")
	}
	sent := "nothing sent yet"
	if webhook.BatchesSent > 0 {
		sent = output.Counted(int(webhook.BatchesSent), "batch", "batches") + " sent"
	}
	if !webhook.LastSentAt.IsZero() {
		sent += ", the last " + output.Age(d.env.Now().Sub(webhook.LastSentAt.Time)) + " ago"
	}
	text := strings.Join(append(about, events, sent), ", ")
	if d.webhook.Status.WebhookID == 0 {
		return finding(Warn, "the account has a webhook at the URL already: "+text, "The operator takes it over, unless spec.adoptionPolicy is Refuse.")
	}
	return finding(Fail, "the account has another webhook at the same URL: "+text, fmt.Sprintf(
		"Events may arrive twice. Delete webhook %d in Mandrill, under Settings, Webhooks, if nothing of yours needs it; otherwise give it another URL.", webhook.ID))
}
