package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

func hidesSecret(url string) bool {
	return url == "" || strings.Contains(url, webhookurl.Hidden)
}

// object looks at what the operator says.
func (d *doctor) object(context.Context) []Finding {
	if len(d.webhook.Status.Conditions) == 0 {
		return finding(Fail, "no operator has handled the object", "Check that the operator runs, that it watches the namespace, and that spec.installation is its own.")
	}
	ready := meta.FindStatusCondition(d.webhook.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case d.webhook.Spec.Suspend:
		return finding(Fail, "spec.suspend is true: batches are refused, and nothing is delivered", "kubectl mandrill resume "+d.webhook.Name+" -n "+d.webhook.Namespace)
	case ready == nil || ready.Status != metav1.ConditionTrue:
		if ready == nil {
			return finding(Warn, "the operator has not said yet whether the object is ready", "Run the command again in a minute.")
		}
		return finding(Fail, ready.Reason+": "+ready.Message, reasons.Remedy(ready.Reason))
	}
	return ok("the operator says that it is ready")
}

// client returns a client for the account, with the key that the person may read.
func (d *doctor) client(ctx context.Context) (*mandrill.Client, error) {
	ref := d.webhook.Spec.APIKeySecretRef
	key, err := d.cluster.SecretValue(ctx, d.webhook.Namespace, ref.Name, access.APIKey(ref))
	if err != nil {
		return nil, err
	}
	return mandrill.NewClient(mandrill.ClientOptions{Key: strings.TrimSpace(key), BaseURL: d.env.Flags.MandrillAPI, UserAgent: "kubectl-mandrill"})
}

// What is low enough to mention. Mandrill's own scale begins at 75 for a new account.
const lowReputation = 40

// account checks the API key and shows the account.
func (d *doctor) account(ctx context.Context) []Finding {
	client, err := d.client(ctx)
	if forbidden := new(access.ForbiddenError); errors.As(err, &forbidden) {
		return skip(err)
	}
	if err != nil {
		return finding(Fail, err.Error(), "Write the API key into the Secret that spec.apiKeySecretRef names.")
	}
	user, err := client.User(ctx)
	switch {
	case errors.Is(err, mandrill.ErrInvalidKey):
		return finding(Fail, "Mandrill does not accept the API key of Secret "+d.webhook.Spec.APIKeySecretRef.Name,
			"Put a valid key into the Secret; Mandrill shows keys under Settings, SMTP & API Info.")
	case err != nil:
		return finding(Warn, "Mandrill's API does not answer: "+err.Error(), "Run the command again; if it lasts, look at the status page of Mailchimp.")
	}
	text := fmt.Sprintf("the API key works: account %s, reputation %d, quota %d messages per hour, %d wait for it", user.Username, user.Reputation, user.HourlyQuota, user.Backlog)
	switch {
	case user.Reputation < lowReputation:
		return finding(Warn, text, "The reputation is low, so Mandrill slows sending: look at bounces and complaints.")
	case user.Backlog > 0:
		return finding(Warn, text, "Mail waits for the hourly quota, and so do its events.")
	}
	return ok("%s", text)
}

// registration compares the webhook at Mandrill with the Secret, and looks for others at the URL.
func (d *doctor) registration(ctx context.Context) []Finding {
	client, err := d.client(ctx)
	if err != nil {
		return skip(err)
	}
	webhooks, err := client.Webhooks(ctx)
	if err != nil {
		return skip(fmt.Errorf("listing the webhooks: %w", err))
	}
	id := d.webhook.Status.WebhookID
	at := slices.IndexFunc(webhooks, func(w mandrill.Webhook) bool { return id != 0 && w.ID == id })
	if id == 0 {
		return finding(Fail, "the webhook is not registered at Mandrill yet", "What the object says above comes first; the operator registers it then.")
	}
	if at < 0 {
		return finding(Fail, fmt.Sprintf("the account has no webhook with the ID %d", id),
			"The operator adds it again; if it does not, kubectl mandrill status says why. Is the API key that of another account?")
	}
	d.remote = &webhooks[at]
	return append(d.compare(), d.others(webhooks)...)
}

// compare compares the webhook at Mandrill with what the operator has stored.
func (d *doctor) compare() []Finding {
	remote := d.remote
	var findings []Finding
	if d.keyMissing == nil && remote.URL != d.url {
		findings = append(findings, finding(Fail, "Mandrill posts to "+webhookurl.Redact(remote.URL)+", and the operator has stored another URL",
			"Somebody has changed the webhook at Mandrill. The operator changes it back; if it does not, write the URL into spec.url.")...)
	}
	if d.keyMissing == nil && remote.AuthKey != "" && remote.AuthKey != d.key {
		findings = append(findings, finding(Fail, "Mandrill signs with another key than the Secret "+access.SigningKeySecret(d.webhook)+" has",
			"Somebody has reset the key. The operator reads the new one within --resync-interval; does it run?")...)
	}
	if len(remote.Events) == 0 {
		findings = append(findings, finding(Fail, "Mandrill has disabled the webhook: it sends no events", reasons.Remedy(v1alpha1.ReasonDisabled))...)
	}
	if remote.LastError != "" {
		findings = append(findings, finding(Warn, "Mandrill's last error, which may be over: "+remote.LastError, "The checks of the public URL below find its cause, if it lasts.")...)
	}
	if len(findings) == 0 {
		findings = ok("webhook %d at Mandrill has the URL, the signing key and %d events", remote.ID, len(remote.Events))
	}
	return findings
}

// others finds other webhooks at the same URL.
func (d *doctor) others(webhooks []mandrill.Webhook) []Finding {
	var ids []string
	for _, other := range webhooks {
		if other.URL == d.remote.URL && other.ID != d.remote.ID {
			ids = append(ids, strconv.FormatInt(other.ID, 10))
		}
	}
	if len(ids) == 0 {
		return ok("no other webhook of the account has the URL")
	}
	return finding(Fail, "the account has other webhooks at the same URL: "+strings.Join(ids, ", "),
		"Their batches are signed with other keys, and events may arrive twice: delete them in Mandrill.")
}
