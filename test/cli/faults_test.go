package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// fault is something that a person has to find by status and doctor alone.
type fault struct {
	name           string
	plant, remove  func()
	status, doctor []string // patterns of the sentences by which they name it
}

// Each of these faults is named by status and by doctor, with what to do about it, and neither says so any more when it is repaired.
func TestFiveFaultsAreFoundByStatusAndDoctor(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	s.eventually("all is in order", s.inOrder(webhook))
	for _, f := range s.faults(webhook) {
		f.plant()
		s.eventually(f.name+" is named by status", func() error {
			r := s.run(webhook.Namespace, "status", webhook.Name)
			return s.names(f.status, r, output.StatusProblems)
		})
		s.eventually(f.name+" is named by doctor", func() error {
			r := s.run(webhook.Namespace, "doctor", webhook.Name)
			if r.status != output.StatusProblems && f.name != anotherAccount {
				return fmt.Errorf("status %d", r.status)
			}
			return s.names(f.doctor, r, r.status)
		})
		t.Logf("%s:\n%s%s", f.name, s.run(webhook.Namespace, "status", webhook.Name).out, s.run(webhook.Namespace, "doctor", webhook.Name).out)
		f.remove()
		s.eventually("all is in order after "+f.name, s.inOrder(webhook))
	}
}

// inOrder emits an event, and fails until status has no problem.
func (s *stack) inOrder(webhook *v1alpha1.MandrillWebhook) func() error {
	return func() error {
		if _, err := s.account.Emit("send"); err != nil {
			return err
		}
		if r := s.run(webhook.Namespace, "status", webhook.Name); r.status != output.StatusOK {
			return fmt.Errorf("status %d: %s", r.status, r.out)
		}
		return nil
	}
}

// names fails if a result lacks a sentence.
func (s *stack) names(patterns []string, r result, status int) error {
	text := strings.Join(strings.Fields(r.out), " ")
	for _, pattern := range patterns {
		if r.status != status || !regexp.MustCompile(pattern).MatchString(text) {
			return fmt.Errorf("status %d, and no %s in\n%s%s", r.status, pattern, r.out, r.err)
		}
	}
	return nil
}

const anotherAccount = "a key of another account"

func (s *stack) faults(webhook *v1alpha1.MandrillWebhook) []fault {
	setKey := func(key string) func() { return func() { s.setKey(webhook.Namespace, key) } }
	sink := regexp.QuoteMeta(strings.TrimPrefix(s.sink.URL, "http://"))
	whole := func() { s.broken.Store(nil) }
	var second mandrill.Webhook
	return []fault{
		{"a wrong key", setKey("md-wrong-key"), setKey(apiKey),
			[]string{`Mandrill does not accept the API key: put a valid one into the Secret "mandrill"\. Next: kubectl patch secret mandrill -n ` + webhook.Namespace + ` -p`},
			[]string{`fail account Mandrill does not accept the API key of Secret mandrill Put a valid key into it`}},
		{"413 at the ingress", func() {
			s.breakIngress(func(w http.ResponseWriter, r *http.Request) bool {
				if r.ContentLength <= 1<<20 {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return true
			})
			s.emitLarge()
		}, whole,
			[]string{`Delivering, LastAttemptFailed .*413 comes from what is in front of the receiver, unless the batch is over --max-body-bytes: let it accept bodies of that size`},
			[]string{`fail body a signed batch of 5 MB is answered with 413 by something in front of the receiver Raise its limit of the body`}},
		{"a second webhook at the URL", func() { second = s.secondWebhook() }, func() { s.removeWebhook(second) },
			[]string{`URLExclusive, OtherWebhooks The account has other webhooks at this URL, so that events may arrive twice: delete \d+ in Mandrill\. Next`},
			[]string{`fail exclusive the account has another webhook at the same URL: webhook \d+ "Made by hand", made on \d{4}-\d\d-\d\d, events send, ` +
				`(nothing sent yet|\d+ batch(es)? sent, the last \d+s ago) Events may arrive twice\. Delete webhook \d+ in Mandrill`}},
		{"a stripped path", func() {
			s.breakIngress(func(_ http.ResponseWriter, r *http.Request) bool {
				r.URL.Path = strings.TrimPrefix(r.URL.Path, "/mandrill")
				return false
			})
			_, _ = s.account.Emit("send")
		}, whole,
			[]string{`404 means that the path does not reach the receiver as it is registered: look whether the ingress strips or rewrites it`},
			[]string{`fail signed a signed empty batch is answered with 404 by a receiver: the receiver does not know the path A proxy changes the path`}},
		{"a dead sink", func() {
			s.answer.Store(http.StatusServiceUnavailable)
			_, _ = s.account.Emit("send")
		}, func() { s.answer.Store(http.StatusAccepted) },
			[]string{`Delivered, (SinkFailing|CircuitOpen) The sink ` + sink + ` has accepted nothing since \S+: it answers with status 503; look at its log\..* Repair the sink, or name another in spec\.sink\.`},
			[]string{`fail sink (SinkFailing|CircuitOpen): The sink ` + sink + ` has accepted nothing since \S+: it answers with status 503; look at its log\.`}},
		{anotherAccount, setKey(otherKey), setKey(apiKey),
			[]string{`Delivering, AccountChanged The API key in the Secret is that of another Mandrill account than before: webhook \d+ of that account has replaced webhook \d+ of the earlier one, ` +
				`and Mandrill has not sent anything for it yet\. If mail is still sent with the earlier account, put its API key back\.`},
			[]string{`warn registration the API key works, but it is another account's than before: it is that of o…@shop\.example \(public ID aaabbbccc112234\)\.`}},
	}
}

func (s *stack) breakIngress(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.broken.Store(&fault)
}

func (s *stack) setKey(namespace, key string) {
	s.t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(s.t.Context(), types.NamespacedName{Namespace: namespace, Name: "mandrill"}, secret); err != nil {
		s.t.Fatal(err)
	}
	secret.Data["api-key"] = []byte(key)
	if err := admin.Update(s.t.Context(), secret); err != nil {
		s.t.Fatal(err)
	}
}

// emitLarge emits an event as large as a mail with an attachment.
func (s *stack) emitLarge() {
	s.t.Helper()
	event, err := json.Marshal(map[string]any{"event": "send", "_id": "large", "ts": 1780000000, "msg": map[string]any{"_id": "large", "subject": strings.Repeat("x", 2<<20)}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.account.EmitRaw("send", event)
}

func (s *stack) mandrillAPI() *mandrill.Client {
	s.t.Helper()
	api, err := mandrill.NewClient(mandrill.ClientOptions{Key: apiKey, BaseURL: s.api.URL + "/api/1.0"})
	if err != nil {
		s.t.Fatal(err)
	}
	return api
}

func (s *stack) secondWebhook() mandrill.Webhook {
	s.t.Helper()
	api := s.mandrillAPI()
	webhooks, err := api.Webhooks(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	second, err := api.AddWebhook(s.t.Context(), mandrill.WebhookSpec{URL: webhooks[0].URL, Description: "Made by hand", Events: []string{"send"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return second
}

func (s *stack) removeWebhook(webhook mandrill.Webhook) {
	s.t.Helper()
	if _, err := s.mandrillAPI().DeleteWebhook(s.t.Context(), webhook.ID); err != nil {
		s.t.Fatal(err)
	}
}
