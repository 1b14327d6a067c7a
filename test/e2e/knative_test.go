package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const eventing = "knative-eventing"

// TestKnative sends events to a Broker of Knative Eventing, from which Triggers take them. It changes features of Knative, so it has
// Knative for itself.
func TestKnative(t *testing.T) {
	folder := os.Getenv("E2E_KNATIVE") // of hack/knative/build.sh
	if folder == "" {
		t.Skip("Knative is not built: run make e2e-knative")
	}
	t.Parallel()
	i := parallel(t, "knative")
	startKnative(t, folder)
	i.install(t)
	i.brokerAndTriggers(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *installation)
	}{
		{"TriggersFilter", triggersFilter},
		{"IsListedAsSource", isListedAsSource},
		{"ConformsAsSource", conformsAsSource},
		{"DeadLetterSinkOfTrigger", deadLetterSinkOfTrigger},
		{"BrokerIsReplaced", brokerIsReplaced},
		{"TransportEncryption", transportEncryption},
		{"OIDC", oidc},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, i) }) {
			diagnose(t, i.release)
			diagnoseKnative(t)
		}
	}
}

// startKnative installs Knative, or resets the features of one that an earlier run has left. It stays, because without its controllers
// nothing of it could be deleted.
func startKnative(t *testing.T, folder string) {
	t.Helper()
	begin := time.Now()
	command(t, "kubectl", "apply", "--server-side", "--force-conflicts", "--filename="+folder+"/knative.yaml")
	command(t, "kubectl", "wait", "--namespace="+eventing, "--for=condition=Available", "deployment", "--all", "--timeout=5m")
	t.Logf("Knative was available after %v", time.Since(begin).Round(100*time.Millisecond))
}

func diagnoseKnative(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "brokers,triggers,channels,subscriptions,eventpolicies", "--all-namespaces"},
		{"logs", "--namespace=" + eventing, "--selector=app=mt-broker-controller", "--tail=5"},
		{"logs", "--namespace=" + eventing, "--selector=eventing.knative.dev/brokerRole=ingress", "--tail=5"},
		{"logs", "--namespace=" + eventing, "--selector=eventing.knative.dev/brokerRole=filter", "--tail=5"},
		{"logs", "--namespace=" + eventing, "--selector=messaging.knative.dev/role=dispatcher", "--tail=5"},
		{"logs", "--namespace=" + eventing, "--selector=app=eventing-controller", "--tail=5"},
	} {
		output, err := run(t.Context(), "", append([]string{"kubectl"}, args...)...)
		for line := range strings.Lines(output) {
			t.Log(line[:min(len(line), 500)]) // they quote whole objects
		}
		if err != nil {
			t.Log(args, err)
		}
	}
}

// broker is the sample with a Broker, whose Trigger is for the domain of the emulated Mandrill.
func (i *installation) broker(t *testing.T) string {
	t.Helper()
	return manifest(t, "../../config/samples/knative-broker.yaml", "example.com", "shop.example", "shop", i.objects,
		"\nspec:\n  events", "\nspec:\n  installation: "+i.name+"\n  events")
}

// brokerAndTriggers makes the sample, and what the tests need besides.
func (i *installation) brokerAndTriggers(t *testing.T) {
	t.Helper()
	apply(t, i.sample(t, i.objects))
	apply(t, i.broker(t))
	apply(t, manifest(t, "testdata/knative.yaml", "NAMESPACE", i.objects, "INSTALLATION", i.name))
	i.awaitTriggers(t)
	for _, name := range []string{"knative-broker", "load"} {
		i.cluster.awaitCondition(t, i.objects, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
}

func (i *installation) awaitTriggers(t *testing.T) {
	t.Helper()
	command(t, "kubectl", "wait", "--namespace="+i.objects, "--for=condition=Ready", "brokers,triggers", "--all", "--timeout=3m")
}

// awaitEvents waits until so many events of a type, or more, have arrived at a path.
func (i *installation) awaitEvents(t *testing.T, path, eventType string, want int) {
	t.Helper()
	eventually(t, "events arrive at "+path, func() error {
		var counts map[string]int
		if err := i.events(t, path, &counts); err != nil {
			return err
		}
		if counts[eventType] < want {
			return fmt.Errorf("%v, want %d of %s", counts, want, eventType)
		}
		return nil
	})
}

func (i *installation) arrived(t *testing.T, path string) map[string]int {
	t.Helper()
	var counts map[string]int
	if err := i.events(t, path, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// mandrillSends has the emulated Mandrill send events of these kinds.
func (i *installation) mandrillSends(t *testing.T, count int, kinds ...string) {
	t.Helper()
	var sent struct{ Events []string }
	i.mandrill(t, "events", map[string]any{"kinds": kinds, "count": count}, &sent)
}

const (
	hardBounce = "com.mandrill.message.hard_bounce"
	click      = "com.mandrill.message.click"
)

// Triggers take the events of a type, and those with an extension attribute, and no others.
func triggersFilter(t *testing.T, i *installation) {
	i.mandrillSends(t, 5, "hard_bounce", "soft_bounce", "click", "delivered")
	i.awaitEvents(t, "/bounces", hardBounce, 5)
	for _, eventType := range []string{hardBounce, click} {
		i.awaitEvents(t, "/shipping", eventType, 5)
	}
	if counts := i.arrived(t, "/bounces"); len(counts) != 1 || counts[hardBounce] != 5 {
		t.Errorf("%v arrived at the Trigger for bounces, want 5 of %s", counts, hardBounce)
	}
	if counts := i.arrived(t, "/elsewhere"); len(counts) > 0 {
		t.Errorf("%v arrived at a Trigger for another domain", counts)
	}
}

// kubectl get sources lists webhooks among the sources of Knative, and the Broker's address is in their status.
func isListedAsSource(t *testing.T, i *installation) {
	sources := strings.Fields(command(t, "kubectl", "get", "sources", "--namespace="+i.objects, "--output=name"))
	if want := "mandrillwebhook.mandrill-operator.io/knative-broker"; !slices.Contains(sources, want) {
		t.Errorf("kubectl get sources lists %v, want %s", sources, want)
	}
	uri := i.cluster.webhook(t, i.objects, "knative-broker").Status.SinkURI
	if want := "http://broker-ingress." + eventing + ".svc.cluster.local/" + i.objects + "/default"; uri != want {
		t.Errorf("the sink is %s, want %s", uri, want)
	}
}

// Knative's own tests of a source (hack/knative/source) find nothing wrong with the kind, its role, and an object.
func conformsAsSource(t *testing.T, i *installation) {
	program, err := filepath.Abs("../../bin/e2e/source.test")
	if err != nil {
		t.Fatal(err)
	}
	output := command(t, "env", "INSTALLATION="+i.name, "SYSTEM_NAMESPACE="+eventing, program, "-test.v")
	for _, test := range []string{"TestSourceCRDMetadata", "TestSourceCRDRBAC", "TestSourceCRDRegistry", "TestSourceStatus"} {
		if !strings.Contains(output, "--- PASS: "+test+" ") {
			t.Errorf("%s has not passed:\n%s", test, output)
		}
	}
}

// What the subscriber of a Trigger refuses goes to the dead letter sink of the Trigger. For the webhook it is delivered.
func deadLetterSinkOfTrigger(t *testing.T, i *installation) {
	apply(t, i.documentedManifest(t, "kind: Trigger\nmetadata: {name: refused"))
	i.awaitTriggers(t)
	i.mandrillSends(t, 5, "soft_bounce")
	i.awaitEvents(t, "/dead-letters", "com.mandrill.message.soft_bounce", 5)
	if letters := i.cluster.webhook(t, i.objects, "knative-broker").Status.Delivery; letters != nil && letters.DeadLetters > 0 {
		t.Errorf("the webhook has %d dead letters", letters.DeadLetters)
	}
	command(t, "kubectl", "delete", "trigger", "refused", "--namespace="+i.objects)
}

// documentedManifest is a block of docs/knative.md that has a text, for the namespaces of the test.
func (i *installation) documentedManifest(t *testing.T, text string) string {
	t.Helper()
	for _, block := range strings.Split(manifest(t, "../../docs/knative.md", "shop", i.objects, "mandrill-operator-system", i.release), "```yaml\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.Contains(block, text) {
			return block
		}
	}
	t.Fatalf("docs/knative.md has no manifest with %q", text)
	return ""
}

// While a Broker is gone the object says so, posts are accepted, and the buffer keeps their events for the next Broker of the name.
func brokerIsReplaced(t *testing.T, i *installation) {
	command(t, "kubectl", "delete", "broker", "default", "--namespace="+i.objects)
	i.cluster.awaitReason(t, i.objects, "load", v1alpha1.ConditionSinkProvided, v1alpha1.ReasonSinkNotFound)
	load := i.startLoad(t, nil)
	load.awaitProgress(t, 300)
	suspend := func(yes bool) {
		command(t, "kubectl", "patch", "mandrillwebhook", "load", "--namespace="+i.objects, "--type=merge", fmt.Sprintf(`--patch={"spec": {"suspend": %t}}`, yes))
	}
	suspend(true) // until there are Triggers, because nobody gets what a Broker takes before
	eventually(t, "batches are refused", func() error {
		if r := load.report(t); r.Failed["503"] == 0 {
			return errors.New(r.String())
		}
		return nil
	})
	i.replaceBroker(t)
	suspend(false)
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	load.awaitProgress(t, 100)
	if r := load.finish(t); len(r.Failed) != 1 {
		t.Errorf("posts failed with %v, want 503 while the webhook was suspended, and nothing else", r.Failed)
	}
}

// replaceBroker runs the commands of docs/knative.md that replace a Broker and its Triggers. Between may do something while there is none.
func (i *installation) replaceBroker(t *testing.T, between ...func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broker.yaml")
	text := i.broker(t) + "\n---\n" + manifest(t, "testdata/knative.yaml", "NAMESPACE", i.objects, "INSTALLATION", i.name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := documentedCommands(t, "kubectl patch mandrillwebhook knative-broker",
		"-n shop", "-n "+i.objects, "config/samples/knative-broker.yaml", path, "subscribers[0]", fmt.Sprintf("subscribers[%d]", strings.Count(text, "kind: Trigger\n")-1))
	deleting, applying, found := strings.Cut(commands, "kubectl apply")
	if !found {
		t.Fatal("the commands of docs/knative.md that replace a Broker do not apply one")
	}
	shell(t, deleting)
	for _, f := range between {
		f()
	}
	shell(t, "kubectl apply"+applying)
}

// switchFeature runs the commands of docs/knative.md that switch a feature of Knative.
func switchFeature(t *testing.T, feature, value string) {
	t.Helper()
	shell(t, documentedCommands(t, "kubectl patch configmap config-features", `"transport-encryption": "strict"`, fmt.Sprintf("%q: %q", feature, value)))
}

// documentedCommands is the block of commands in docs/knative.md that begins with a text.
func documentedCommands(t *testing.T, begin string, replacements ...string) string {
	t.Helper()
	_, commands, found := strings.Cut(manifest(t, "../../docs/knative.md"), "```sh\n"+begin)
	commands, _, ended := strings.Cut(commands, "```")
	if !found || !ended {
		t.Fatalf("docs/knative.md has no commands that begin with %q", begin)
	}
	return strings.NewReplacer(replacements...).Replace(begin + commands)
}

// shell runs commands until all of them succeed: on a machine without a free processor, Knative's admission webhooks do not answer in time.
func shell(t *testing.T, commands string) {
	t.Helper()
	eventually(t, "the commands succeed", func() error {
		output, err := run(t.Context(), "", "sh", "-ec", commands)
		if err != nil {
			return fmt.Errorf("%s%w: %s", commands, err, output)
		}
		return nil
	})
}
