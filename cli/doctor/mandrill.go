package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
	"github.com/mandrill-operator/mandrill-operator/cli/view"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

func hidesSecret(url string) bool {
	return url == "" || webhookurl.Userinfo(url) == webhookurl.Hidden || webhookurl.WithoutSecret(url) != url
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
		return d.unmet(Fail, ready, ready.Message)
	}
	var others []string
	for _, problem := range view.Summarize(d.webhook).Problems {
		others = append(others, strings.Trim(problem.Condition+" ("+problem.Reason+")", " "))
	}
	if len(others) > 0 {
		return finding(Warn, "the operator says that the object is ready, but not all is in order: "+strings.Join(others, ", "),
			"kubectl mandrill status "+d.webhook.Name+" -n "+d.webhook.Namespace+" says what each means; the checks below look for the causes.")
	}
	return ok("the operator says that the object is ready")
}

// unmet is the finding for a condition that is not True, with what its message does not say already.
func (d *doctor) unmet(level Level, condition *metav1.Condition, message string) []Finding {
	return finding(level, condition.Reason+": "+message, reasons.Advice(condition.Reason, message))
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
	switch {
	case apierrors.IsNotFound(err):
		return finding(Fail, err.Error(), "Create it: "+access.CreateAPIKey(d.webhook))
	case err != nil:
		return finding(Fail, err.Error(), "Write the API key into it: "+access.SetAPIKey(d.webhook))
	}
	user, err := client.User(ctx)
	switch {
	case errors.Is(err, mandrill.ErrInvalidKey):
		return finding(Fail, "Mandrill does not accept the API key of Secret "+d.webhook.Spec.APIKeySecretRef.Name,
			"Put a valid key into it; Mandrill shows keys under Settings, SMTP & API Info: "+access.SetAPIKey(d.webhook))
	case err != nil:
		return finding(Warn, "Mandrill's API does not answer: "+err.Error(), "Run the command again; if it lasts, look at the status page of Mailchimp.")
	}
	d.user = &user
	text := fmt.Sprintf("the API key works: account %s, reputation %d, quota %d messages per hour, %d wait for it",
		accountName(&user), user.Reputation, user.HourlyQuota, user.Backlog)
	switch {
	case user.Reputation < lowReputation:
		return finding(Warn, text, "The reputation is low, so Mandrill slows sending: look at bounces and complaints.")
	case user.Backlog > 0:
		return finding(Warn, text, "Mail waits for the hourly quota, and so do its events.")
	}
	return ok("%s", text)
}

// accountName names an account. Usernames are often mail addresses.
func accountName(user *mandrill.User) string {
	switch {
	case user == nil:
		return "unknown"
	case user.PublicID == "":
		return output.ShortAddress(user.Username)
	}
	return fmt.Sprintf("%s (public ID %s)", output.ShortAddress(user.Username), user.PublicID)
}

// registration compares the webhook at Mandrill with the Secret.
func (d *doctor) registration(ctx context.Context) []Finding {
	client, err := d.client(ctx)
	if err == nil {
		if d.listed, err = client.Webhooks(ctx); err != nil {
			err = fmt.Errorf("listing the webhooks: %w", err)
		}
	}
	if d.notListed = err; err != nil {
		return skip(err)
	}
	id := d.webhook.Status.WebhookID
	if id == 0 {
		return finding(Fail, "the webhook is not registered at Mandrill yet; "+d.willHave(), "What the object says above comes first; the operator registers it then.")
	}
	at := slices.IndexFunc(d.listed, func(w mandrill.Webhook) bool { return w.ID == id })
	if at < 0 {
		return d.elsewhere(id)
	}
	d.remote = &d.listed[at]
	return d.compare()
}

// willHave says which URL a webhook will have that is not registered.
func (d *doctor) willHave() string {
	if d.url == "" {
		return "it has no URL: " + d.noURL.Error()
	}
	return fmt.Sprintf("its URL will be %s, by %s", webhookurl.Redact(d.url), cmp.Or(d.urlFrom, "the Secret of the signing key"))
}

// elsewhere is for a webhook that the account does not have: somebody has deleted it, or the key is another account's.
func (d *doctor) elsewhere(id int64) []Finding {
	return finding(Fail, fmt.Sprintf("the API key works, but its account, %s, has no webhook %d, which status.webhookID names: "+
		"the key is that of another account than the webhook's, or somebody has deleted the webhook", accountName(d.user), id),
		fmt.Sprintf("If mail is sent with another account, put its API key into the Secret %s. Otherwise the operator adds the webhook again to this account; "+
			"if it does not, the line of the object above says why.", d.webhook.Spec.APIKeySecretRef.Name))
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
		findings = append(findings, finding(Fail, "Mandrill has disabled the webhook: it sends no events", reasons.Remedy(v1alpha1.ReasonDisabled)+
			" The operator enables it again; status says when.")...)
	}
	findings = append(findings, d.delivering()...)
	if remote.LastError != "" {
		findings = append(findings, finding(Warn, "Mandrill's last error, which may be over: "+remote.LastError, "The checks of the public URL below find its cause, if it lasts.")...)
	}
	if len(findings) == 0 {
		findings = ok("webhook %d at Mandrill has the URL, the signing key and %d events", remote.ID, len(remote.Events))
	}
	return findings
}

// delivering looks at what the operator says of Mandrill's side and the list of webhooks does not.
func (d *doctor) delivering() []Finding {
	condition := meta.FindStatusCondition(d.webhook.Status.Conditions, v1alpha1.ConditionDelivering)
	switch {
	case condition == nil:
	case condition.Reason == v1alpha1.ReasonAccountChanged && d.remote.BatchesSent == 0:
		message := "the API key works, but it is another account's than before: it is that of " + accountName(d.user) + ". " + condition.Message
		return finding(Warn, message, reasons.Advice(condition.Reason, message))
	case condition.Reason == v1alpha1.ReasonDisabled && len(d.remote.Events) > 0:
		return finding(Warn, "Mandrill has the webhook enabled again; status says Disabled until the operator lists the account again",
			"Nothing to do: that is within the operator's --resync-interval, 5 minutes by default.")
	}
	return nil
}
