package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// With the feature transport-encryption Knative takes events by HTTPS only, with certificates of cert-manager. The Broker publishes its
// authority, which the receiver trusts without any setting.
func transportEncryption(t *testing.T, i *installation) {
	startCertManager(t)
	command(t, "kubectl", "apply", "--filename="+os.Getenv("E2E_KNATIVE")+"/tls.yaml")
	command(t, "kubectl", "wait", "--namespace="+eventing, "--for=condition=Ready", "certificates", "--all", "--timeout=3m")
	authority := command(t, "kubectl", "get", "secret", "mt-broker-ingress-server-tls", "--namespace="+eventing, `--output=go-template={{index .data "ca.crt" | base64decode}}`)
	i.replaceBroker(t, func() { switchFeature(t, "transport-encryption", "strict") })
	eventually(t, "the sink has the Broker's authority", func() error {
		status := i.cluster.webhook(t, i.objects, "load").Status
		if !strings.HasPrefix(status.SinkURI, "https://") || strings.TrimSpace(status.SinkCACerts) != strings.TrimSpace(authority) {
			return fmt.Errorf("the sink is %s with the authority %q", status.SinkURI, status.SinkCACerts)
		}
		return nil
	})
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
}

// With the feature authentication-oidc the Broker wants a token for its audience, and a policy that names the receiver's account.
func oidc(t *testing.T, i *installation) {
	i.replaceBroker(t, func() { switchFeature(t, "authentication-oidc", "enabled") })
	audience := "eventing.knative.dev/broker/" + i.objects + "/default"
	eventually(t, "the object says which audience the receiver needs a token for", func() error {
		condition := apimeta.FindStatusCondition(i.cluster.webhook(t, i.objects, "load").Status.Conditions, v1alpha1.ConditionSinkProvided)
		if condition == nil || condition.Reason != v1alpha1.ReasonSinkUnsupported || !strings.Contains(condition.Message, audience) {
			return fmt.Errorf("%+v", condition)
		}
		return nil
	})
	i.upgrade(t, "sinks.audiences={"+audience+"}", "sidecarInjection.enabled=true")
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	t.Run("WithoutPolicy", func(t *testing.T) { refusedByPolicy(t, i) })
	applyPolicy(t, i.documentedManifest(t, "kind: EventPolicy"))
	eventually(t, "the policy applies", func() error {
		policies := command(t, "kubectl", "get", "broker", "default", "--namespace="+i.objects, "--output=jsonpath={.status.policies[*].name}")
		if policies != "mandrill-receiver" {
			return errors.New("the Broker has the policies " + policies)
		}
		return nil
	})
	noFailedPosts(t, i.startLoad(t, nil).finish(t))
	t.Run("InjectedSidecar", func(t *testing.T) { sidecarHasToken(t, i) })
}

// applyPolicy applies an EventPolicy. The admission webhook from before the restart may answer for some minutes, and knows the old features.
func applyPolicy(t *testing.T, manifests string) {
	t.Helper()
	eventually(t, "Knative accepts the policy", func() error {
		output, err := run(t.Context(), manifests, "kubectl", "apply", "--filename", "-")
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

// An injected sidecar sends the token for the audience that the annotation of its pod names.
func sidecarHasToken(t *testing.T, i *installation) {
	t.Cleanup(func() { // before the operator goes
		cleanUp(t, "kubectl", "delete", "deployment", "tokens", "--namespace="+i.objects)
	})
	applyPolicy(t, manifest(t, "testdata/sidecar-tokens.yaml", "NAMESPACE", i.objects, "INSTALLATION", i.name))
	i.awaitTriggers(t)
	i.cluster.awaitCondition(t, i.objects, "tokens", v1alpha1.ConditionReady, metav1.ConditionTrue)
	i.mandrillSends(t, 5, "spam")
	i.awaitEvents(t, "/complaints", "com.mandrill.message.spam", 5)
}

// Without a policy, Brokers take events from accounts of their own namespace only. What is refused is kept as a dead letter.
func refusedByPolicy(t *testing.T, i *installation) {
	i.mandrillSends(t, 3, "hard_bounce")
	eventually(t, "the object shows the refusal", func() error {
		delivery := i.cluster.webhook(t, i.objects, "knative-broker").Status.Delivery
		if delivery == nil || delivery.DeadLetters != 3 || delivery.LastFailure == nil || delivery.LastFailure.Status != http.StatusForbidden {
			return fmt.Errorf("%+v", delivery)
		}
		return nil
	})
}
