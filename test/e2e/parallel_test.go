package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// define installs the CRD for the tests that run at the same time, whose releases then leave it alone.
var define = sync.OnceValue(func() error {
	terminating, _ := run(context.Background(), "", "kubectl", "get", "customresourcedefinition", definition, "--output=jsonpath={.metadata.deletionTimestamp}")
	if strings.HasPrefix(terminating, "2") { // that of an earlier test is on its way out
		if output, err := run(context.Background(), "", "kubectl", "wait", "--for=delete", "customresourcedefinition/"+definition, "--timeout=3m"); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
	}
	output, err := run(context.Background(), "", "kubectl", "apply", "--server-side", "--force-conflicts", "--kustomize=../../config/crd")
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	defined = true
	return nil
})

var defined bool

func TestMain(m *testing.M) {
	code := m.Run()
	if defined {
		if output, err := run(context.Background(), "", "kubectl", "delete", "customresourcedefinition", definition, "--timeout=2m"); err != nil {
			fmt.Fprintln(os.Stderr, err, output)
		}
	}
	os.Exit(code)
}

// parallel prepares an installation for a test that runs beside others, and removes it afterwards. A name makes it independent of them.
func parallel(t *testing.T, name string) *installation {
	t.Helper()
	i := &installation{cluster: connect(t), release: name, objects: name + "-shop", name: name}
	if err := define(); err != nil {
		t.Fatal(err)
	}
	i.fixtures(t)
	t.Cleanup(func() { i.remove(t) })
	return i
}

// remove deletes an installation and its objects. It does not wait for the namespaces: Kubernetes looks at one again when half the time
// is over that its last pods may take to end.
func (i *installation) remove(t *testing.T) {
	t.Helper()
	if t.Failed() {
		diagnose(t, i.release)
	}
	cleanUp(t, "kubectl", "delete", "mandrillwebhooks", "--all", "--namespace="+i.objects, "--timeout=90s")
	cleanUp(t, "helm", "uninstall", "mandrill-operator", "--namespace="+i.release, "--ignore-not-found")
	deleteNamespaces(t, i.release, i.objects)
}

func deleteNamespaces(t *testing.T, names ...string) {
	t.Helper()
	cleanUp(t, append([]string{"kubectl", "delete", "namespace", "--ignore-not-found", "--wait=false"}, names...)...)
}

// webhooks makes the sample and a webhook for a load, and waits until they are ready.
func (i *installation) webhooks(t *testing.T) {
	t.Helper()
	apply(t, i.sample(t, i.objects))
	apply(t, i.loadWebhook(t, "load"))
	for _, name := range []string{"transactional", "load"} {
		i.cluster.awaitCondition(t, i.objects, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
}
