package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// fleet is a cluster whose content is in Git.
type fleet struct {
	*repository
	cluster *cluster
	node    *node
	account *mandrilltest.Account
}

// TestFlux installs release and webhook by a commit, changes the webhook by another, takes this one back, and removes everything by
// taking back the first.
func TestFlux(t *testing.T) {
	f := startFleet(t)
	install := f.install(t)
	f.awaitsTheKey(t, install)
	f.registers(t, install)
	change := f.changesEvents(t)
	f.takesTheChangeBack(t, change)
	f.removesEverything(t, install)
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{cluster: startCluster(t)}
	t.Cleanup(func() {
		if t.Failed() {
			f.cluster.logs(t)
		}
	})
	receiver, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.node = &node{cluster: f.cluster, receiver: receiver, stopping: func(context.Context, string) {}}
	f.node.start(t)
	f.repository = newRepository(t)
	if err := f.cluster.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flux-system"}}); err != nil {
		t.Fatal(err)
	}
	f.startControllers(t)
	bootstrap, err := os.ReadFile("testdata/bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.cluster.apply(t, strings.ReplaceAll(string(bootstrap), "GIT_URL", f.url))
	return f
}

// startControllers starts Flux's controllers as its installation does, except that one of each needs no Lease.
func (f *fleet) startControllers(t *testing.T) {
	t.Helper()
	kubeconfig, err := f.cluster.kubeconfig("flux", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	storage, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"source-controller":    {"--storage-path=" + t.TempDir(), "--storage-addr=" + storage, "--storage-adv-addr=" + storage},
		"kustomize-controller": {"--requeue-dependency=1s"},
		"helm-controller":      {"--requeue-dependency=1s"},
	} {
		env := []string{"RUNTIME_NAMESPACE=flux-system", "KUBECONFIG=" + kubeconfig, "HOME=" + f.cluster.folder}
		args = append(args, "--metrics-addr=0", "--health-addr=127.0.0.1:0", "--events-addr=", "--enable-leader-election=false")
		f.cluster.start(t, name, filepath.Join(flux(t), name), env, args...)
	}
}

// pushChart packages the chart and pushes it to a registry on loopback, whose repository it returns.
func (f *fleet) pushChart(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "address")
	f.cluster.start(t, "registry", filepath.Join(os.Getenv("GITOPS_PROGRAMS"), "image"), nil, "registry", "-address-file", file)
	var address string
	eventually(t, "the registry serves", func() error {
		data, err := os.ReadFile(file)
		address = string(data)
		return err
	})
	home := t.TempDir()
	env := []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	helm := os.Getenv("GITOPS_HELM")
	run(t, home, env, helm, "package", absolute(t, root+"/charts/mandrill-operator"), "--version", "0.1.0")
	run(t, home, env, helm, "push", "mandrill-operator-0.1.0.tgz", "oci://"+address+"/charts", "--plain-http")
	return "oci://" + address + "/charts/mandrill-operator"
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// install makes the commit that has everything: the release, the webhook, and the reference to the key.
func (f *fleet) install(t *testing.T) string {
	t.Helper()
	account, url := startMandrill(t)
	f.account = account
	public := "publicURL: http://" + f.node.receiver + "/mandrill"
	f.copyLayout(t,
		"url: oci://ghcr.io/mandrill-operator/charts/mandrill-operator", "insecure: true\n  url: "+f.pushChart(t),
		"publicURL: https://hooks.example.com/mandrill", public+"\n    mandrillAPIURL: "+url+"/api/1.0\n    operator: {receiverURL: public, resyncInterval: 10s}\n"+
			"    receiver: {replicas: 1, buffer: {volume: {size: 100Mi}}}",
		"retryInterval: 1m", "retryInterval: 5s",
	)
	return f.commit(t, "mandrill-operator and the webhook of the shop")
}

// object reads an object of Flux.
func (f *fleet) object(t *testing.T, apiVersion, kind, name string) (*unstructured.Unstructured, error) {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	return object, f.cluster.client.Get(t.Context(), types.NamespacedName{Namespace: "flux-system", Name: name}, object)
}

// ready returns an error that says why an object is not ready, at a revision if one is given.
func (f *fleet) ready(t *testing.T, apiVersion, kind, name, revision string) error {
	t.Helper()
	object, err := f.object(t, apiVersion, kind, name)
	if err != nil {
		return err
	}
	applied, _, _ := unstructured.NestedString(object.Object, "status", "lastAppliedRevision")
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, each := range conditions {
		condition, _ := each.(map[string]any)
		if condition["type"] == "Ready" && condition["status"] == "True" && (revision == "" || applied == revision) {
			return nil
		}
	}
	return fmt.Errorf("%s %s is at %q: %v", kind, name, applied, conditions)
}

func (f *fleet) kustomizationReady(t *testing.T, name, revision string) error {
	t.Helper()
	return f.ready(t, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, revision)
}

func (f *fleet) webhook(t *testing.T) (*v1alpha1.MandrillWebhook, error) {
	t.Helper()
	object := &v1alpha1.MandrillWebhook{}
	return object, f.cluster.client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "transactional"}, object)
}

// awaitsTheKey checks that Flux does not believe in the webhook before it has a key.
func (f *fleet) awaitsTheKey(t *testing.T, revision string) {
	t.Helper()
	eventually(t, "the release is ready", func() error {
		return errors.Join(f.ready(t, "helm.toolkit.fluxcd.io/v2", "HelmRelease", "mandrill-operator", ""), f.kustomizationReady(t, "mandrill-operator", revision))
	})
	eventually(t, "the webhook waits for its key", func() error {
		object, err := f.webhook(t)
		if err != nil {
			return err
		}
		for _, condition := range object.Status.Conditions {
			if condition.Type == v1alpha1.ConditionReady && condition.Reason == v1alpha1.ReasonAPIKeySecretNotFound {
				return nil
			}
		}
		return fmt.Errorf("%+v", object.Status.Conditions)
	})
	if err := f.kustomizationReady(t, "mandrill-webhooks", ""); err == nil || len(f.account.Webhooks()) > 0 {
		t.Errorf("the Kustomization is ready, and Mandrill has %v", f.account.Webhooks())
	}
}

// registers plays External Secrets, and checks that Flux is done when Mandrill has the webhook, and not before.
func (f *fleet) registers(t *testing.T, revision string) {
	t.Helper()
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}, StringData: map[string]string{"api-key": apiKey}}
	if err := f.cluster.client.Create(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	f.done(t, "the webhook is registered", revision, "send", "open")
}

// done waits until Flux has applied a revision. From that moment on, Mandrill must have the webhook with these events.
func (f *fleet) done(t *testing.T, what, revision string, events ...string) {
	t.Helper()
	eventually(t, what, func() error { return f.kustomizationReady(t, "mandrill-webhooks", revision) })
	webhooks := f.account.Webhooks()
	if len(webhooks) != 1 || !slices.Equal(slices.Sorted(slices.Values(webhooks[0].Events)), slices.Sorted(slices.Values(events))) {
		t.Fatalf("Flux says that it is done, and Mandrill has %+v, want one webhook with %v", webhooks, events)
	}
}

func (f *fleet) changesEvents(t *testing.T) string {
	t.Helper()
	f.replace(t, "mandrill/webhooks/transactional.yaml", "events: [send, open]", "events: [send, open, click]")
	revision := f.commit(t, "Clicks")
	f.done(t, "the events are changed", revision, "send", "open", "click")
	return revision
}

func (f *fleet) takesTheChangeBack(t *testing.T, change string) {
	t.Helper()
	f.done(t, "the events are changed back", f.revert(t, change), "send", "open")
}

// removesEverything checks that the webhook goes first, then the operator, and that nothing stays except what says so.
func (f *fleet) removesEverything(t *testing.T, install string) {
	t.Helper()
	left := make(chan string, 8)
	f.node.stopping = func(ctx context.Context, workload string) {
		objects := &v1alpha1.MandrillWebhookList{}
		if err := f.cluster.client.List(ctx, objects); err != nil || len(objects.Items) > 0 || len(f.account.Webhooks()) > 0 {
			left <- fmt.Sprintf("%s was stopped with %d objects and %d webhooks at Mandrill: %v", workload, len(objects.Items), len(f.account.Webhooks()), err)
		}
	}
	f.revert(t, install)
	eventually(t, "everything is removed", func() error {
		if running := f.node.workloads(t.Context()); running != "" {
			return errors.New(running + " are still there")
		}
		for _, name := range []string{"mandrill-operator", "mandrill-webhooks"} {
			if _, err := f.object(t, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the Kustomization %s is still there: %w", name, err)
			}
		}
		_, err := f.object(t, "helm.toolkit.fluxcd.io/v2", "HelmRelease", "mandrill-operator")
		if _, missing := f.webhook(t); !apierrors.IsNotFound(err) || !apierrors.IsNotFound(missing) {
			return fmt.Errorf("the release: %w, the webhook: %w", err, missing)
		}
		return nil
	})
	select {
	case message := <-left:
		t.Error(message)
	default:
	}
	if webhooks := f.account.Webhooks(); len(webhooks) > 0 {
		t.Errorf("Mandrill still has %+v", webhooks)
	}
	for _, object := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}}} {
		if err := f.cluster.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil || object.GetDeletionTimestamp() != nil {
			t.Errorf("%s should stay: %v", object.GetName(), err)
		}
	}
	eventually(t, "Flux goes on", func() error { return f.kustomizationReady(t, "flux-system", "") })
}
