package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// fault is what is wrong with the objects of a namespace.
type fault struct {
	id, name string
	object   func(s *stack, namespace string, webhook *v1alpha1.MandrillWebhook)
	prepare  func(ctx context.Context, s *stack, webhook *v1alpha1.MandrillWebhook) error
	answer   func(w http.ResponseWriter, r *http.Request, call string) bool // of Mandrill; false: as usual
	begin    func(ctx context.Context, s *stack, namespace string)          // once all objects are Ready; nil if the fault is there before
	noKey    bool                                                           // Mandrill does not know the API key
}

func namespaceOf(f fault) string { return "fault-" + f.id }
func keyOf(f fault) string       { return "key-" + f.id }

const refusal = `{"status":"error","code":%d,"name":%q,"message":%q}`

func refuse(w http.ResponseWriter, status, code int, name, message string) bool {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, refusal, code, name, message) // the operator may have gone away
	return true
}

var faults = []fault{
	{id: "silent", name: "URL that leads to a server that does not answer", object: func(s *stack, namespace string, webhook *v1alpha1.MandrillWebhook) {
		webhook.Spec.URL = s.silent(namespace) + "/" + webhook.Name
	}},
	{id: "away", name: "Receiver goes away", object: throughFront, begin: func(_ context.Context, s *stack, namespace string) { s.front(namespace).down.Store(true) }},
	{id: "check", name: "URL that Mandrill does not reach", object: throughFront, answer: func(w http.ResponseWriter, _ *http.Request, call string) bool {
		return call == "webhooks/add" && refuse(w, http.StatusInternalServerError, -2, "ValidationError", `Validation error: {"url":"POST to URL failed"}`)
	}},
	{id: "key", name: "API key that Mandrill does not accept", object: throughFront, noKey: true},
	{id: "limit", name: "Account that answers 429", object: throughFront, answer: func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		return refuse(w, http.StatusTooManyRequests, -99, "RequestLimitExceeded", "You have sent too many requests")
	}},
	{id: "hang", name: "Account that does not answer", object: throughFront, answer: func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		<-r.Context().Done()
		return true
	}},
	{id: "add", name: "Account that does not answer `webhooks/add`", object: throughFront, answer: func(_ http.ResponseWriter, r *http.Request, call string) bool {
		if call != "webhooks/add" {
			return false
		}
		<-r.Context().Done()
		return true
	}},
	{id: "refused", name: "Webhook that Mandrill refuses", object: throughFront, answer: func(w http.ResponseWriter, _ *http.Request, call string) bool {
		return call == "webhooks/add" && refuse(w, http.StatusInternalServerError, 10, "PaymentRequired", "The requested feature requires payment")
	}},
	{id: "mx", name: "Inbound domain without an MX record", object: func(s *stack, namespace string, webhook *v1alpha1.MandrillWebhook) {
		throughFront(s, namespace, webhook)
		webhook.Spec.Inbound = &v1alpha1.Inbound{Routes: []v1alpha1.InboundRoute{{Domain: webhook.Name + ".in.example", Pattern: "*"}}}
	}},
	{id: "contested", name: "Another program changes the webhook every second", object: throughFront, begin: contest},
	{id: "sink", name: "Sink that does not exist", object: func(s *stack, namespace string, webhook *v1alpha1.MandrillWebhook) {
		throughFront(s, namespace, webhook)
		webhook.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "none"}}
	}},
	{id: "squat", name: "Secret of somebody else under the signing key's name", object: throughFront, prepare: func(ctx context.Context, s *stack, webhook *v1alpha1.MandrillWebhook) error {
		return s.admin.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: webhook.Name + "-signing-key"}, StringData: map[string]string{"password": "theirs"},
		})
	}},
	{id: "none", name: "None", object: throughFront, begin: func(context.Context, *stack, string) {}},
}

// throughFront gives an object a URL at the namespace's way to the receiver, where its probes are counted.
func throughFront(s *stack, namespace string, webhook *v1alpha1.MandrillWebhook) {
	webhook.Spec.URL = s.front(namespace).url + "/" + namespace + "/" + webhook.Name
}

// contest changes the description of every webhook of the account each second.
func contest(ctx context.Context, s *stack, namespace string) {
	account := s.emulator.Account("key-" + namespace[len("fault-"):])
	go func() {
		for n := 0; pause(ctx, time.Second) == nil; n++ {
			for _, webhook := range account.Webhooks() {
				account.Edit(webhook.ID, func(spec *mandrill.WebhookSpec) { spec.Description = fmt.Sprint("changed ", n) })
			}
		}
	}()
}

// discard reads what a server sends until it ends.
func discard(from io.Reader) { _, _ = io.Copy(io.Discard, from) }
