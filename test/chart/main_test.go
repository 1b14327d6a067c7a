// Package chart_test renders the Helm chart and config, and has a real API server judge them: strict validation, Pod Security, and what
// each service account may do. It installs the chart with Helm where the chart looks into the cluster.
package chart_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	chart     = root + "/charts/mandrill-operator"
	namespace = "mandrill-operator-system"
)

var (
	update      = flag.Bool("update", false, "write the golden files")
	environment *envtest.Environment
	config      *rest.Config
	admin       client.Client
	helmPath    string
	kubeconfig  string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "these tests need an API server: run make test-system, or set KUBEBUILDER_ASSETS to what hack/cluster/build.sh etcd kube-apiserver prints")
		return 1
	}
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	folder, err := os.MkdirTemp("", "chart-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	kubeconfig = filepath.Join(folder, "kubeconfig")
	environment = &envtest.Environment{CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: startTimeout}, ControlPlaneStartTimeout: startTimeout}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
		}
	}()
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// startTimeout is enough for a machine without a free processor.
const startTimeout = 3 * time.Minute

func start() error {
	foreign, err := foreignCRDs()
	if err != nil {
		return err
	}
	environment.CRDDirectoryPaths, environment.ErrorIfCRDPathMissing = foreign, true
	if config, err = environment.Start(); err != nil {
		return fmt.Errorf("starting the control plane: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	user, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	data, err := user.KubeConfig()
	if err != nil {
		return err
	}
	for _, name := range []string{namespace, "shop", "crm"} {
		restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
		if err := admin.Create(context.Background(), restricted); err != nil {
			return err
		}
	}
	if helmPath, err = tool("helm"); err != nil {
		return err
	}
	return os.WriteFile(kubeconfig, data, 0o600)
}

// tool builds a pinned tool and returns its path.
func tool(name string) (string, error) {
	command := exec.Command("go", "tool", "-modfile="+filepath.Join(root, "hack", name, "go.mod"), "-n", name)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("building %s: %w: %s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(output)), nil
}

// helm runs Helm on the test's API server, with a home of its own. What it installs has images, unless the test is about their registry.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if installs := args[0] == "install" || args[0] == "upgrade"; installs && !strings.Contains(strings.Join(args, " "), "image.") {
		args = append(args, "--set", "image.registry=registry.example.com")
	}
	command := exec.CommandContext(t.Context(), helmPath, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+filepath.Dir(kubeconfig), "HELM_CACHE_HOME=", "HELM_CONFIG_HOME=", "HELM_DATA_HOME=")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return stderr.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(output), nil
}

// template renders the chart without a cluster.
func template(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	output, err := helm(t, append([]string{"template", "mandrill-operator", chart, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, output)
}

func decode(t *testing.T, manifest string) (list []*unstructured.Unstructured) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
	return list
}

// find returns the object of a kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}
