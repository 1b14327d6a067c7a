// Package doctor walks the way of an event, from Mandrill's account to the sink, and says of each hop whether it works and what to do
// if it does not.
package doctor

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Level says how a check ended.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip" // it could not be checked
)

// Finding is what a check has found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// Time limits of the checks. Together they bound the command.
const (
	checkTimeout = 20 * time.Second
	largeTimeout = 90 * time.Second // for 60 MB
)

const long = `doctor walks the way of an event and prints a line for each hop, with what to do where it does not work:

  object        what the operator says in the conditions
  account       the API key, reputation and quota of the account, by Mandrill's API
  registration  the webhook at Mandrill: URL, signing key, events
  exclusive     other webhooks of the account at the same URL, and other MandrillWebhooks that claim it
  dns, tls      the host of the public URL and its certificate
  head, signed  the answers at the public URL, and whether it is this webhook's receiver that gives them
  body          signed batches of 5 MB and 60 MB, which the receiver verifies and drops
  receivers     pods, reports and buffer
  sink          what receivers report of the sink
  counters      when Mandrill sent last, and when a receiver received; how many events both have counted

It sends no event to the sink: kubectl mandrill test does that. Checks of the public URL run on this machine, so that a host that only
the Internet reaches or a proxy of yours makes a difference.

It reads the MandrillWebhook, the Secrets of the API key and of the signing key, pods, and the metrics of receivers by pods/proxy. A check without the right for it is skipped.
It exits with 2 if a check fails, and with 3 if none fails and some were skipped.`

type doctor struct {
	env      *access.Env
	cluster  *access.Cluster
	webhook  *v1alpha1.MandrillWebhook
	since    time.Duration
	skipBody bool

	user       *mandrill.User     // of the API key, nil if unknown
	listed     []mandrill.Webhook // all of the account
	notListed  error
	remote     *mandrill.Webhook // as Mandrill has it, nil if unknown
	url, key   string            // from the Secret, empty if it cannot be read
	noURL      error             // why url is empty
	urlFrom    string            // who says the URL of a webhook that is not registered
	keyMissing error
	noAnswer   bool // HEAD got none
	unreached  bool // the small batch does not arrive
	findings   []Finding
}

// New returns the command doctor.
func New(env *access.Env) *cobra.Command {
	var format output.Format
	d := doctor{env: env}
	public := false
	command := &cobra.Command{
		Use: "doctor NAME", Short: "Check each hop from Mandrill to the sink, and say what to do", Long: long, Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return d.run(command.Context(), args[0], public, format)
		},
		ValidArgsFunction: env.CompleteWebhooks,
	}
	format.AddFlag(command.Flags())
	command.Flags().BoolVar(&public, "public", false, "check only what is seen from outside: DNS, certificate, and answers at the public URL")
	command.Flags().DurationVar(&d.since, "since", 24*time.Hour, "compare counters only if Mandrill has sent within this time")
	command.Flags().BoolVar(&d.skipBody, "skip-large", false, "leave out the batches of 5 MB and 60 MB")
	return command
}

// check is a hop.
type check struct {
	name    string
	public  bool
	timeout time.Duration
	run     func(*doctor, context.Context) []Finding
}

var checks = []check{
	{"object", false, checkTimeout, (*doctor).object},
	{"account", false, checkTimeout, (*doctor).account},
	{"registration", false, checkTimeout, (*doctor).registration},
	{"exclusive", false, checkTimeout, (*doctor).exclusive},
	{"dns", true, checkTimeout, (*doctor).dns},
	{"tls", true, checkTimeout, (*doctor).tls},
	{"head", true, checkTimeout, (*doctor).head},
	{"signed", true, checkTimeout, (*doctor).signed},
	{"body", true, 3 * largeTimeout, (*doctor).bodies},
	{"receivers", false, checkTimeout, (*doctor).receivers},
	{"sink", false, checkTimeout, (*doctor).sink},
	{"counters", false, checkTimeout, (*doctor).counters},
}

func (d *doctor) run(ctx context.Context, name string, public bool, format output.Format) error {
	cluster, err := d.env.Connect(&d.env.Flags)
	if err != nil {
		return err
	}
	d.cluster = cluster
	if d.webhook, err = cluster.Webhook(ctx, name); err != nil {
		return err
	}
	d.readSecret(ctx)
	failed, skipped := false, false
	for _, check := range checks {
		if public && !check.public {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, check.timeout)
		findings := check.run(d, bounded)
		cancel()
		for _, finding := range findings {
			finding.Check = check.name
			failed = failed || finding.Level == Fail
			skipped = skipped || finding.Level == Skip && (check.name != "body" || !d.skipBody)
			d.findings = append(d.findings, finding)
			if format == output.Table { // each hop is shown when it is known
				if err := printFinding(d.env.Out, finding); err != nil {
					return err
				}
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopped at %s: %w", check.name, ctx.Err())
		}
	}
	err = format.Print(d.env.Out, d.findings, func(io.Writer) error { return nil })
	switch {
	case err != nil:
		return err
	case failed:
		return output.Problems
	case skipped:
		return &output.StatusError{Status: output.StatusIncomplete}
	}
	return nil
}

// readSecret reads the registered URL and the key from the Secret that the operator writes.
func (d *doctor) readSecret(ctx context.Context) {
	name := access.SigningKeySecret(d.webhook)
	if d.url, d.keyMissing = d.cluster.SecretValue(ctx, d.webhook.Namespace, name, "url"); d.keyMissing == nil {
		d.key, d.keyMissing = d.cluster.SecretValue(ctx, d.webhook.Namespace, name, "signing-key")
	}
	status := d.webhook.Status
	if d.url == "" && !hidesSecret(status.URL) {
		d.url = status.URL
	}
	if d.url == "" && status.WebhookID == 0 {
		d.url, d.urlFrom, d.noURL = d.futureURL(ctx)
	} else if d.url == "" {
		d.noURL = fmt.Errorf("the public URL has a part that is secret, and is read from the Secret %s: %w", name, d.keyMissing)
	}
	if d.url == "" && d.noURL == nil {
		d.noURL = errNoURL
	}
	if d.keyMissing != nil && status.WebhookID == 0 {
		d.keyMissing = errNoKey
	}
}

// futureURL is the URL that a webhook will have which is not registered yet, without the parameter of spec.urlSecretRef, and says who
// says so.
func (d *doctor) futureURL(ctx context.Context) (registered, from string, err error) {
	if spec := d.webhook.Spec; spec.URL != "" {
		return spec.URL, "spec.url", nil
	}
	public, pod, err := d.cluster.PublicURL(ctx, &d.env.Flags, d.webhook.Spec.Installation)
	if err != nil {
		return "", "", err
	}
	urls := webhookurl.URLs{Public: public, Installation: d.webhook.Spec.Installation}
	registered, err = urls.Of(d.webhook)
	return registered, "--public-url of the operator " + pod, err
}

var colors = map[Level]output.Color{OK: output.Green, Warn: output.Yellow, Fail: output.Red}

func printFinding(w io.Writer, finding Finding) error {
	level := fmt.Sprintf("%-4s", finding.Level)
	if color, ok := colors[finding.Level]; ok {
		level = output.Paint(w, color, level)
	}
	_, err := fmt.Fprintf(w, "%s  %-12s  %s\n", level, finding.Check, finding.Text)
	if err == nil && finding.Do != "" {
		_, err = fmt.Fprintf(w, "%20s%s\n", "", finding.Do)
	}
	return err
}

func ok(format string, args ...any) []Finding {
	return []Finding{{Level: OK, Text: fmt.Sprintf(format, args...)}}
}

func finding(level Level, text, do string) []Finding {
	return []Finding{{Level: level, Text: text, Do: do}}
}

func skip(err error) []Finding { return finding(Skip, "not checked: "+err.Error(), "") }
