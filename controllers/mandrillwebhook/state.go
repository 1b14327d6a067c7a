package mandrillwebhook

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// state is what one reconcile knows of its object. Each step adds what the steps after it need.
type state struct {
	webhook    *v1alpha1.MandrillWebhook
	before     *v1alpha1.MandrillWebhook // as the cluster has it
	found      []metav1.Condition        // that the reconcile began with
	conditions *controllers.Conditions   // of webhook; all that a reconcile sets are set here

	secret  *corev1.Secret // of the signing key, nil if there is none; perhaps not owned by the object yet
	stored  identity       // that the Secret has as present
	retired []retired      // that the Secret has as accepted for a while longer

	sink       *sinks.Sink // nil while it has no address
	deadLetter *sinks.Sink // nil without one

	url       string // to register, secret parts included
	urlSecret string // the part of url that comes from a Secret

	account   *account.Account
	remote    mandrill.Webhook // as Mandrill has it
	remark    remark           // about the webhook, if there is one
	others    bool             // other webhooks post to the URL
	elsewhere bool             // the URL leads to another installation's receiver, which has the webhook too
	askAgain  time.Duration    // when to find that out again; 0: never
	waiting   []string         // objects that wait for the URL
}

func newState(webhook *v1alpha1.MandrillWebhook) *state {
	return &state{
		webhook:    webhook,
		before:     webhook.DeepCopy(),
		found:      slices.Clone(webhook.Status.Conditions),
		conditions: &controllers.Conditions{List: &webhook.Status.Conditions, Generation: webhook.Generation},
	}
}

func (s *state) key() types.NamespacedName { return client.ObjectKeyFromObject(s.webhook) }

// facts are what the object's webhook is recognised by.
func (s *state) facts() registration.Facts {
	return registration.Facts{Object: s.webhook, URL: s.url, Key: s.stored.Key, ShownAs: webhookurl.ShownAs}
}

// accepted are the identities that batches may have, the present one first.
func (s *state) accepted() []identity {
	list := []identity{{s.url, s.remote.AuthKey}, {s.url, s.stored.Key}, s.stored}
	for _, r := range s.retired {
		list = append(list, r.identity)
	}
	return list
}

// recheck is how soon to look again at sinks that no watch covers, and for what a pending registration may have made. Zero
// means never.
func (s *state) recheck() time.Duration {
	var soonest time.Duration
	if len(s.webhook.Status.PendingRegistrations) > 0 {
		soonest = pendingRecheck
	}
	if s.others {
		soonest = earliest(soonest, othersRecheck)
	}
	soonest = earliest(soonest, s.askAgain)
	for _, sink := range []*sinks.Sink{s.sink, s.deadLetter} {
		if sink != nil {
			soonest = earliest(soonest, sink.Recheck)
		}
	}
	return soonest
}

// wasTrue reports whether a condition was True for the present generation.
func wasTrue(webhook *v1alpha1.MandrillWebhook, name string) bool {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, name)
	return condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == webhook.Generation
}
