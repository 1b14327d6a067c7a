package view_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
	"github.com/mandrill-operator/mandrill-operator/cli/view"
)

func webhook(conditions ...metav1.Condition) *v1alpha1.MandrillWebhook {
	return &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"},
		Spec: v1alpha1.MandrillWebhookSpec{
			APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill", Key: "key"}, Sink: v1alpha1.Destination{URI: "http://user:s3cr3t@consumer.shop.svc/in?token=s3cr3t"},
			URLSecretRef: &v1alpha1.URLSecretRef{Name: "part", Key: "token", Parameter: "t"},
		},
		Status: v1alpha1.MandrillWebhookStatus{Conditions: conditions},
	}
}

func condition(name, reason, message string) metav1.Condition {
	return metav1.Condition{Type: name, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// partsOfReady are the conditions that Ready sums up, and those of kstatus: who reads Ready knows them.
var partsOfReady = []string{
	v1alpha1.ConditionSinkProvided, v1alpha1.ConditionReceiverReady, v1alpha1.ConditionRegistered, v1alpha1.ConditionSigningKeyStored, v1alpha1.ConditionInboundReady,
	v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
}

// No condition is False without a word of status.
func TestEveryConditionThatIsFalseIsAProblem(t *testing.T) {
	t.Parallel()
	list, err := reasons.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range list {
		if !known.Condition || slices.Contains(partsOfReady, known.Name) {
			continue
		}
		problems := view.Summarize(webhook(condition(known.Name, v1alpha1.ReasonRetrying, "it does not answer"))).Problems
		if len(problems) != 1 || problems[0].Condition != known.Name || problems[0].Next == "" {
			t.Errorf("%s: %+v", known.Name, problems)
		}
	}
}

// The next command has the names of the object, so that it can be run as it is.
func TestNextCommandHasTheNames(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		v1alpha1.ReasonAPIKeySecretNotFound: "kubectl create secret generic mandrill -n shop --from-literal=key=YOUR-API-KEY",
		v1alpha1.ReasonAPIKeyMissing:        `kubectl patch secret mandrill -n shop -p '{"stringData":{"key":"YOUR-API-KEY"}}'`,
		v1alpha1.ReasonInvalidAPIKey:        `kubectl patch secret mandrill -n shop -p '{"stringData":{"key":"YOUR-API-KEY"}}'`,
		v1alpha1.ReasonURLSecretNotFound: "kubectl create secret generic part -n shop --from-literal=token=A-LONG-RANDOM-TEXT && " +
			"kubectl annotate secret part -n shop mandrill-operator.io/allow-url-secret=true",
		v1alpha1.ReasonURLSecretMissing: `kubectl patch secret part -n shop -p '{"stringData":{"token":"A-LONG-RANDOM-TEXT"}}'`,
		v1alpha1.ReasonSuspended:        "kubectl mandrill resume a -n shop",
		v1alpha1.ReasonRouteNotServed:   "kubectl mandrill doctor a -n shop",
	} {
		if got := view.Summarize(webhook(condition(v1alpha1.ConditionReady, reason, ""))).Problems[0].Next; got != want {
			t.Errorf("%s: got %q, want %q", reason, got, want)
		}
	}
}

// run runs status for objects, without receivers.
func run(t *testing.T, objects ...*v1alpha1.MandrillWebhook) string {
	t.Helper()
	scheme, err := access.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, object := range objects {
		builder = builder.WithObjects(object)
	}
	var out bytes.Buffer
	env := &access.Env{Out: &out, Now: time.Now, Connect: func(*access.Flags) (*access.Cluster, error) {
		return &access.Cluster{Client: builder.Build(), Namespace: "shop"}, nil
	}}
	command := view.NewStatus(env)
	command.SetArgs(nil)
	command.SilenceErrors, command.SilenceUsage = true, true
	_ = command.ExecuteContext(t.Context()) // the status of problems
	return out.String()
}

// A problem is said once: the message, with the sink's address, and what of the remedy it does not say.
func TestProblemIsSaidOnce(t *testing.T) {
	t.Parallel()
	out := run(t, webhook(
		condition(v1alpha1.ConditionURLExclusive, v1alpha1.ReasonOtherWebhooks, "The account has other webhooks at this URL, so that events may arrive twice: delete 102 in Mandrill"),
		condition(v1alpha1.ConditionDelivered, v1alpha1.ReasonSinkFailing, "The sink has accepted nothing since 2026-11-29T01:13:06Z: it does not answer in time; find out why it is slow, "+
			"or raise spec.delivery.timeout. Events wait in the buffer, or at Mandrill in Direct mode, and are sent again")))
	for _, want := range []string{
		"URL             SINK", "OtherWebhooks   SinkFailing",
		"\nshop/a: URLExclusive, OtherWebhooks\n  The account has other webhooks at this URL, so that events may arrive twice: delete 102 in Mandrill.\n  Next: kubectl mandrill doctor a -n shop\n",
		"\nshop/a: Delivered, SinkFailing\n  The sink consumer.shop.svc:80 has accepted nothing since 2026-11-29T01:13:06Z: it does not answer in time; find out why it is slow, " +
			"or raise spec.delivery.timeout. Events wait in the buffer, or at Mandrill in Direct mode, and are sent again.\n  Repair the sink, or name another in spec.sink.\n  Next: ",
		"LAST EVENT may be 5 minutes old or more, because the receivers did not say it: no receivers were found",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	for _, fragment := range []string{"Also ", "s3cr3t", "  ."} {
		if strings.Contains(out, fragment) {
			t.Errorf("there is %q in\n%s", fragment, out)
		}
	}
}
