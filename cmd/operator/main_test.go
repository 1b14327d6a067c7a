package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
	"github.com/mandrill-operator/mandrill-operator/version"
)

const patience = 3 * time.Minute

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string // in the error
	}{
		{nil, ""},
		{[]string{"--max-route-bytes-per-namespace=4Mi"}, ""},
		{[]string{"--max-route-bytes-per-namespace=4194304"}, ""},
		{[]string{"--max-route-bytes-per-namespace=4MB"}, "did you mean 4Mi?"},
		{[]string{"--max-route-bytes-per-namespace=-1"}, "must not be negative"},
		{[]string{"--resync-interval=0s"}, "must be positive"},
		{[]string{"--public-url=hooks.example.com"}, "must be an absolute http or https URL"},
		{[]string{"--receiver-service-accounts=a/b,c/d"}, ""},
		{[]string{"--receiver-service-accounts=mandrill-receiver"}, "is not of the form NAMESPACE/NAME"},
		{[]string{"x"}, "unexpected argument"},
	} {
		if _, err := parseFlags(test.args); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got error %v, want one with %q", test.args, err, test.want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), []string{"--version"}, &out, io.Discard); err != nil || out.String() != "operator "+version.Get().String()+"\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// cluster is an API server without anything of ours.
type cluster struct {
	t           *testing.T
	environment *envtest.Environment
	admin       client.Client
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("this test needs an API server: run make test, or set KUBEBUILDER_ASSETS to what hack/assets.sh prints")
	}
	c := &cluster{t: t, environment: &envtest.Environment{ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience}}
	t.Cleanup(func() {
		if err := c.environment.Stop(); err != nil {
			t.Errorf("stopping the control plane: %v", err)
		}
	})
	config, err := c.environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	if c.admin, err = client.New(config, client.Options{Scheme: runtime.NewScheme()}); err != nil {
		t.Fatal(err)
	}
	return c
}

// apply creates the objects of manifests.
func (c *cluster) apply(paths ...string) {
	c.t.Helper()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		for reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			object := &unstructured.Unstructured{}
			if err := errors.Join(err, yaml.Unmarshal(document, &object.Object)); err != nil {
				c.t.Fatal(err)
			}
			if len(object.Object) == 0 {
				continue
			}
			if err := c.admin.Create(c.t.Context(), object); err != nil {
				c.t.Fatalf("%s: %v", path, err)
			}
		}
	}
}

// account returns the configuration of one of our service accounts, and a kubeconfig for it.
func (c *cluster) account(name string) (*rest.Config, string) {
	c.t.Helper()
	user, err := c.environment.AddUser(envtest.User{Name: "system:serviceaccount:mandrill-operator-system:" + name, Groups: []string{"system:authenticated"}}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return user.Config(), path
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	poll.True(t, patience, what, condition)
}

// background runs something until the test ends, which must end without an error.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// In a new installation everything gets ready in any order: the operator waits for its CustomResourceDefinition and says so, and the
// receiver gets routes, of which there are none.
func TestFreshInstallationGetsReady(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.apply("../../config/namespace.yaml", "../../config/rbac/role.yaml", "../../config/rbac/bindings.yaml")
	health, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	probe := func(path string) (int, string) {
		response, err := http.Get("http://" + health + path)
		if err != nil {
			return 0, ""
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}

	_, kubeconfig := c.account("mandrill-operator")
	logged := &logbuffer.Buffer{}
	t.Cleanup(func() { // when the operator has stopped as told
		for line := range strings.Lines(logged.String()) {
			if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, leaderElectionEnded) {
				t.Error("the log has ", line)
			}
		}
	})
	background(t, func(ctx context.Context) error {
		return run(ctx, []string{"--kubeconfig", kubeconfig, "--health-listen", health, "--metrics-listen=0", "--reports-listen=0"}, io.Discard, logged)
	})
	eventually(t, "the operator says what is missing", func() bool {
		status, text := probe("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "mandrillwebhooks.mandrill-operator.io is not installed")
	})
	if status, text := probe("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, text)
	}
	eventually(t, "the operator logs what is missing", func() bool { return strings.Contains(logged.String(), "Waiting for the CustomResourceDefinition") })

	// The receiver starts now, because the operator sets a logger of client-go that is the process's.
	config, _ := c.account("mandrill-receiver")
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	routes := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	background(t, func(ctx context.Context) error {
		return kube.WatchSecrets(ctx, clientset.CoreV1().Secrets("mandrill-operator-system"), "mandrill-receiver-routes", routes, routes.Logger)
	})
	if routes.Ready() {
		t.Error("the receiver is ready without routes")
	}
	var first struct{ Msg, Version, Commit, Go, Platform string }
	if err := json.Unmarshal([]byte(strings.SplitN(logged.String(), "\n", 2)[0]), &first); err != nil || first.Msg != "Starting" || first.Version == "" || first.Commit == "" {
		t.Errorf("the first log line is %+v, %v", first, err)
	}

	c.apply("../../config/crd/mandrill-operator.io_mandrillwebhooks.yaml")
	eventually(t, "the operator is ready", func() bool { status, _ := probe("/readyz"); return status == http.StatusOK })
	eventually(t, "the operator is the leader", func() bool { return strings.Contains(logged.String(), "Successfully acquired lease") })
	eventually(t, "the receiver is ready", routes.Ready)
}
