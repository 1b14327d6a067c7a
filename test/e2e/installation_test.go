package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const (
	system = "mandrill-operator-system"
	sample = "../../config/samples/transactional.yaml"
	tree   = "../.."
	chart  = tree + "/charts/mandrill-operator"
)

// installation is a release of the chart, and a namespace with objects for it, their consumer, and a source of batches. Installations
// with names of their own share a cluster, so their tests run at the same time.
type installation struct {
	cluster *cluster
	release string // namespace of the release
	objects string // namespace of the objects
	name    string // spec.installation of the objects
	baseURL string // public URL, without the path; empty: the receiver's Service
	loads   int    // that were started

	mandrillAt string // namespace of the emulated Mandrill, if it is not the common one
}

func (i *installation) receiver() string { return "mandrill-receiver." + i.release }

func (i *installation) publicURL() string {
	if i.baseURL != "" {
		return i.baseURL + "/mandrill"
	}
	return "http://" + i.receiver() + "/mandrill"
}

// fixtures starts the emulated Mandrill and the consumer.
func (i *installation) fixtures(t *testing.T) {
	t.Helper()
	apply(t, manifest(t, "testdata/mandrill.yaml"))
	awaitTerminated(t, i.objects)
	apply(t, manifest(t, "testdata/traffic.yaml", "NAMESPACE", i.objects))
	command(t, "kubectl", "rollout", "status", "--namespace=e2e", "deployment/mandrill", "--timeout=5m")
	command(t, "kubectl", "rollout", "status", "--namespace="+i.objects, "deployment/traffic", "--timeout=5m")
}

// awaitTerminated waits until a namespace that is being deleted is gone.
func awaitTerminated(t *testing.T, namespace string) {
	t.Helper()
	if phase, _ := run(t.Context(), "", "kubectl", "get", "namespace", namespace, "--output=jsonpath={.status.phase}"); phase == "Terminating" {
		command(t, "kubectl", "wait", "--for=delete", "namespace/"+namespace, "--timeout=5m")
	}
}

// sample is the manifests of the sample in a namespace of the objects, with other replacements.
func (i *installation) sample(t *testing.T, namespace string, replacements ...string) string {
	t.Helper()
	if i.name != "" {
		replacements = append(replacements, "\nspec:\n  description", "\nspec:\n  installation: "+i.name+"\n  description")
	}
	return manifest(t, sample, append(replacements, "shop", namespace)...)
}

// loadWebhook is the manifest of a webhook for a load, whose events arrive at the path with its name.
func (i *installation) loadWebhook(t *testing.T, name string) string {
	t.Helper()
	replacements := []string{"NAMESPACE", i.objects, "NAME", name}
	if i.name != "" {
		replacements = append(replacements, "\nspec:\n", "\nspec:\n  installation: "+i.name+"\n")
	}
	return manifest(t, "testdata/load.yaml", replacements...)
}

// restricted is a namespace that enforces the restricted Pod Security standard.
func restricted(namespace string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`, namespace)
}

// install makes a namespace and installs the chart there. Values are of the form a.b=c.
func (i *installation) install(t *testing.T, values ...string) {
	t.Helper()
	awaitTerminated(t, i.release)
	apply(t, restricted(i.release))
	begin := time.Now()
	i.upgrade(t, values...)
	t.Logf("helm install --wait took %v", time.Since(begin).Round(100*time.Millisecond))
}

// upgrade installs the chart, or changes the values of the release.
func (i *installation) upgrade(t *testing.T, values ...string) {
	t.Helper()
	if output, err := i.helm(t, chart, tag(), values...); err != nil {
		t.Fatalf("helm upgrade: %v\n%s", err, output)
	}
}

// helm installs or upgrades a chart with the images of a tag. Values that begin with -- are flags.
func (i *installation) helm(t *testing.T, chart, tag string, values ...string) (string, error) {
	t.Helper()
	args := []string{
		"helm", "upgrade", "--install", "mandrill-operator", chart, "--namespace=" + i.release, "--wait", "--timeout=5m",
		"--values=testdata/values.yaml", "--set=image.registry=" + registry(), "--set=image.tag=" + tag, "--set=publicURL=" + i.publicURL(),
	}
	if i.name != "" {
		args = append(args, "--set=installation="+i.name)
	}
	for _, value := range values {
		if !strings.HasPrefix(value, "--") {
			value = "--set=" + value
		}
		args = append(args, value)
	}
	return run(t.Context(), "", args...)
}

// TestInstallation installs the chart as its users do, does to it what happens to installations, and uninstalls it. It has the cluster
// for itself, because it also installs the CRD and freezes the API server.
func TestInstallation(t *testing.T) {
	i := &installation{cluster: connect(t), release: system, objects: "shop"}
	i.fixtures(t)
	t.Run("WithoutDefinition", func(t *testing.T) { withoutDefinition(t, i) })
	i.installPrevious(t)
	apply(t, i.sample(t, i.objects))
	apply(t, i.loadWebhook(t, "load"))
	for _, name := range []string{"transactional", "load"} {
		i.cluster.awaitCondition(t, i.objects, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *installation)
	}{
		{"Upgraded", upgraded},
		{"BatchBecomesCloudEvents", batchBecomesCloudEvents},
		{"PluginReachesReceivers", pluginReachesReceivers},
		{"RollingRestartFailsNoPost", rollingRestart},
		{"DeletedReceiver", deletedReceiver},
		{"EvictedReceivers", evictedReceivers},
		{"KilledReceiver", killedReceiver},
		{"RestartedOperator", restartedOperator},
		{"SinkIsDown", sinkIsDown},
		{"FrozenAPIServer", frozenAPIServer},
		{"Uninstalled", uninstalled},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, i) }) {
			diagnose(t, i.release)
		}
	}
}

// Without the CRD, and told not to install it, the chart says what to do. Helm would say that there is no such kind later.
func withoutDefinition(t *testing.T, i *installation) {
	if definitionExists(t) {
		t.Skip("the CRD is there already")
	}
	apply(t, restricted(i.release))
	output, err := i.helm(t, chart, tag(), "crds.install=false")
	if err == nil || !strings.Contains(output, "is not installed: apply config/crd first, or set crds.install=true") {
		t.Errorf("%v\n%s", err, output)
	}
}

// previousTree is the tree of the version before this one, whose images have the tag "previous".
func previousTree() string { return os.Getenv("E2E_PREVIOUS") }

// installPrevious installs the version before this one, or this one if there is none.
func (i *installation) installPrevious(t *testing.T) {
	t.Helper()
	from, tag := tree, tag()
	if previousTree() != "" {
		from, tag = previousTree(), "previous"
	}
	apply(t, restricted(i.release))
	i.documented(t, from, "helm upgrade --install", "--set=image.tag="+tag, "--values=testdata/values.yaml")
}

// An upgrade from the version before fails no post and loses nothing.
func upgraded(t *testing.T, i *installation) {
	if previousTree() == "" {
		t.Skip("there is no version before this one, see hack/e2e.sh")
	}
	load := i.startLoad(t, nil)
	begin := time.Now()
	i.documented(t, tree, "helm upgrade mandrill-operator", "--set=image.tag="+tag(), "--values=testdata/values.yaml")
	t.Logf("helm upgrade --wait took %v", time.Since(begin).Round(100*time.Millisecond))
	load.awaitProgress(t, 100)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	for _, component := range []string{"operator", "receiver"} {
		for _, pod := range i.cluster.pods(t, i.release, component) {
			if image := pod.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+tag()) {
				t.Errorf("%s has the image %s", pod.Name, image)
			}
		}
	}
}

// diagnose logs what a reader needs after a failure.
func diagnose(t *testing.T, namespace string) {
	t.Helper()
	show := func(args ...string) {
		output, err := run(context.WithoutCancel(t.Context()), "", args...) // also in cleanups
		t.Log(output, err)
	}
	show("kubectl", "get", "pods,mandrillwebhooks,events", "--all-namespaces")
	for _, component := range []string{"operator", "receiver"} {
		show("kubectl", "logs", "--namespace="+namespace, "--selector=app.kubernetes.io/component="+component, "--tail=40", "--prefix", "--ignore-errors")
	}
}

// Every type of event that the status announces reaches the consumer.
func batchBecomesCloudEvents(t *testing.T, i *installation) {
	announced := i.cluster.webhook(t, i.objects, "transactional").Status.CloudEventAttributes
	if len(announced) < 10 {
		t.Fatalf("the status announces %v", announced)
	}
	i.mandrill(t, "events", nil, &json.RawMessage{})
	eventually(t, "events arrive", func() error {
		var counts map[string]int
		if err := i.events(t, "/events", &counts); err != nil {
			return err
		}
		for _, attributes := range announced {
			if counts[attributes.Type] == 0 {
				return fmt.Errorf("no %s has arrived, only %v", attributes.Type, counts)
			}
		}
		return nil
	})
}

// documented runs the commands of a shell block of docs/install.md that begins with a text, on the chart of a tree. Flags are added to
// those of helm upgrade.
func (i *installation) documented(t *testing.T, tree, begin string, flags ...string) {
	t.Helper()
	_, block, found := strings.Cut(manifest(t, "../../docs/install.md"), "```sh\n"+begin)
	block, _, ended := strings.Cut(block, "```")
	if !found || !ended {
		t.Fatalf("docs/install.md has no commands that begin with %q", begin)
	}
	block = strings.NewReplacer(
		"\\\n", " ", " charts/", " "+tree+"/charts/", "https://hooks.example.com/mandrill", i.publicURL(), "registry.example.com/mandrill-operator", registry(),
	).Replace(begin + block)
	for line := range strings.SplitSeq(strings.TrimSpace(block), "\n") {
		args := strings.Fields(line)
		if args[0] == "helm" && args[1] == "upgrade" {
			args = append(args, flags...)
		}
		command(t, args[0], args[1:]...)
	}
}

// Of an installation that is removed nothing stays except what holds data (volumes, and the CRD with its objects), and what the operator
// made itself: the Secret with the routes, without any, and its Lease.
func uninstalled(t *testing.T, i *installation) {
	i.documented(t, tree, "helm upgrade mandrill-operator charts/mandrill-operator --namespace mandrill-operator-system --wait --reset-then-reuse-values \\")
	for _, url := range i.mandrillWebhooks(t) {
		if !strings.Contains(url, "/deserted/") { // which were given up
			t.Errorf("Mandrill still has %s", url)
		}
	}
	eventually(t, "objects are deleted", func() error {
		if left := leftBehind(t, i.release); len(left) > 0 {
			return errors.New("left behind: " + strings.Join(left, " "))
		}
		return nil
	})
	stays := strings.Fields(command(t, "kubectl", "get", "persistentvolumeclaims,secrets,leases", "--namespace="+i.release, "--output=name"))
	want := []string{
		"persistentvolumeclaim/buffer-mandrill-receiver-0", "persistentvolumeclaim/buffer-mandrill-receiver-1", "secret/mandrill-receiver-routes",
		"lease.coordination.k8s.io/mandrill-operator",
	}
	if !slices.Equal(stays, want) {
		t.Errorf("%v stays, want %v", stays, want)
	}
	if !definitionExists(t) {
		t.Error("the CRD is gone, and would have taken objects with it")
	}
	i.documented(t, tree, "kubectl delete crd")
}

// leftBehind returns objects of the namespace, and objects of the cluster with its name, that hold no data.
func leftBehind(t *testing.T, namespace string) []string {
	t.Helper()
	kinds := "deployments,statefulsets,jobs,pods,services,configmaps,roles,rolebindings,serviceaccounts,poddisruptionbudgets,networkpolicies"
	names := strings.Fields(command(t, "kubectl", "get", kinds, "--namespace="+namespace, "--output=name"))
	for _, name := range strings.Fields(command(t, "kubectl", "get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "--output=name")) {
		if strings.Contains(name, "mandrill") {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "configmap/kube-root-ca.crt" || name == "serviceaccount/default"
	})
}

// cleanUp is command for cleanups, which run to their end.
func cleanUp(t *testing.T, args ...string) {
	t.Helper()
	if output, err := run(context.WithoutCancel(t.Context()), "", args...); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

const definition = "mandrillwebhooks.mandrill-operator.io"

func definitionExists(t *testing.T) bool {
	t.Helper()
	return command(t, "kubectl", "get", "customresourcedefinition", definition, "--ignore-not-found") != ""
}
