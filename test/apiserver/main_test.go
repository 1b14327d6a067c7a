// Package apiserver_test runs what needs a real API server: validation, defaults, rights, and objects through
// their life with the operator and the receiver as they are deployed.
package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

var (
	environment *envtest.Environment
	scheme      = runtime.NewScheme()
	admin       client.WithWatch
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "these tests need an API server: run make test-system, or set KUBEBUILDER_ASSETS to what hack/cluster/build.sh etcd kube-apiserver prints")
		return 1
	}
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	environment = &envtest.Environment{
		CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: patience}, ControlPlaneStartTimeout: patience,
	}
	defer func() { // also after a start that failed half-way
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
		}
	}()
	config, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		panic(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	if admin, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		panic(err)
	}
	if err := applyFiles("../../config/namespace.yaml", "../../config/rbac/role.yaml", "../../config/rbac/bindings.yaml"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if code := m.Run(); code != 0 || filtered() {
		return code
	}
	if err := reportUnusedRights(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// applyFiles creates every object of manifests.
func applyFiles(paths ...string) error {
	for _, path := range paths {
		objects, err := decodeFile(path)
		if err != nil {
			return err
		}
		for _, object := range objects {
			if err := admin.Create(context.Background(), object); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// rightsOf returns a configuration with the rights of one of the project's service accounts and no others.
func rightsOf(t *testing.T, name string) *rest.Config {
	t.Helper()
	config := addUser(t, envtest.User{Name: "system:serviceaccount:mandrill-operator-system:" + name}).Config()
	config.QPS = -1 // as the operator does
	if name == "mandrill-operator" {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return recorder{next} })
	}
	return config
}

// usersMu guards the certificate authority of the environment, which is not safe for concurrent use.
var usersMu sync.Mutex

// addUser makes a user of the API server.
func addUser(t *testing.T, user envtest.User) *envtest.AuthenticatedUser {
	t.Helper()
	usersMu.Lock()
	defer usersMu.Unlock()
	added, err := environment.AddUser(user, nil)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

// newNamespace makes a namespace for one test.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeWebhooks(namespace.Name); err != nil {
			t.Errorf("removing the objects of %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

// removeWebhooks removes the MandrillWebhooks of a namespace, with or without an operator. Those that are left would be work for
// the operators of all later tests.
func removeWebhooks(namespace string) error {
	ctx := context.Background()
	if err := admin.DeleteAllOf(ctx, &v1alpha1.MandrillWebhook{}, client.InNamespace(namespace)); err != nil {
		return err
	}
	var left v1alpha1.MandrillWebhookList
	if err := admin.List(ctx, &left, client.InNamespace(namespace)); err != nil {
		return err
	}
	withoutFinalizers := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	for i := range left.Items {
		if err := admin.Patch(ctx, &left.Items[i], withoutFinalizers); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// patience is above what a machine without a free processor may cost: a watch that is set up again after up to 30 s,
// and an operator that asks again after as much.
const patience = 3 * time.Minute

// eventually waits until the condition holds, and fails with what it last said when it does not in time.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	poll.NoError(t, patience, what, condition)
}
