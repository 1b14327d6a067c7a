package monitoring_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

const (
	apiKey  = "md-alerts"
	webhook = "shop/transactional"
)

// sink is an HTTP endpoint that accepts events, or answers with an error.
type sink struct {
	*httptest.Server
	failure            atomic.Int64 // status of its answers; 0: it accepts
	accepted, answered atomic.Int64
}

func (s *sink) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.answered.Add(1)
	if status := s.failure.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	s.accepted.Add(1)
}

// stack is the operator and the receiver with the rights that they have in a cluster, an API server, an emulated Mandrill and a sink.
type stack struct {
	operator, receiver string          // addresses of the metrics
	startOperator      func() *process // with the same arguments each time
	running            *process        // the operator
	account            *mandrilltest.Account
	sink               *sink
	front              *front // has the public URL
	token              string // file with the receiver's token for reports
	object             *v1alpha1.MandrillWebhook
}

// startStack returns a stack with one webhook that is Ready.
func startStack(t *testing.T) *stack {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("this test needs an API server: run make test-system, or set KUBEBUILDER_ASSETS to what hack/assets.sh prints")
	}
	s := &stack{sink: &sink{}}
	s.sink.Server = httptest.NewServer(s.sink)
	t.Cleanup(s.sink.Close)
	emulator := mandrilltest.New(mandrilltest.Options{
		APIKeys: []string{apiKey}, BatchInterval: time.Second, RetryInterval: 20 * time.Minute / faster, HTTPClient: trusting(),
	})
	t.Cleanup(emulator.Close)
	s.account = emulator.Account(apiKey)
	api := httptest.NewServer(emulator)
	t.Cleanup(api.Close)

	folder := t.TempDir()
	admin := startAPIServer(t, folder)
	build(t, folder)
	address := func() string {
		t.Helper()
		address, err := loopback.Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	s.operator, s.receiver = address(), address()
	public, reported := address(), address()
	s.front = startFront(t, public)
	s.token = filepath.Join(folder, "token")
	s.writeToken(t, receiverToken(t, admin))
	runProgram(t, filepath.Join(folder, "receiver"), "--listen", public, "--metrics-listen", s.receiver, "--shutdown-delay=0s", "--log-level=warn",
		"--routes-secret=mandrill-operator-system/mandrill-receiver-routes", "--kubeconfig", filepath.Join(folder, "mandrill-receiver"),
		"--buffer=embedded", "--buffer-dir", filepath.Join(folder, "buffer"), "--buffer-max-bytes=128Mi", "--allow-sink-hosts=127.0.0.1",
		"--operator-url", "http://"+reported, "--report-token-file", s.token)
	s.startOperator = func() *process {
		t.Helper()
		return runProgram(t, filepath.Join(folder, "operator"), "--public-url", s.front.URL+"/mandrill", "--receiver-url", "http://"+public, "--mandrill-api-url", api.URL+"/api/1.0",
			"--kubeconfig", filepath.Join(folder, "mandrill-operator"), "--metrics-listen", s.operator, "--health-listen=0", "--reports-listen", reported,
			"--resync-interval", (5 * time.Minute / faster).String(), "--allow-sink-hosts=127.0.0.1", "--log-level=warn")
	}
	s.running = s.startOperator()
	s.create(t, admin)
	return s
}

// startAPIServer starts an API server with the CRD and the service accounts, and writes a kubeconfig of each account into a folder.
func startAPIServer(t *testing.T, folder string) client.Client {
	t.Helper()
	environment := &envtest.Environment{
		CRDDirectoryPaths: []string{root + "/config/crd"}, ErrorIfCRDPathMissing: true,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: patience}, ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience,
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"mandrill-operator", "mandrill-receiver"} {
		user, err := environment.AddUser(envtest.User{Name: "system:serviceaccount:mandrill-operator-system:" + account}, nil)
		if err != nil {
			t.Fatal(err)
		}
		kubeconfig, err := user.KubeConfig()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, account), kubeconfig, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, admin, "namespace.yaml", "rbac/role.yaml", "rbac/bindings.yaml")
	return admin
}

// apply creates the objects of files in config.
func apply(t *testing.T, admin client.Client, files ...string) {
	t.Helper()
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(root, "config", file))
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq("\n"+string(data), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if len(object.Object) == 0 {
				continue
			}
			if err := admin.Create(t.Context(), object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}

// build builds the two programs into a folder.
func build(t *testing.T, folder string) {
	t.Helper()
	if err := programs.Build(folder, "operator", "receiver"); err != nil {
		t.Fatal(err)
	}
}

// create creates the webhook and waits until it is Ready.
func (s *stack) create(t *testing.T, admin client.Client) {
	t.Helper()
	namespace, name, _ := strings.Cut(webhook, "/")
	s.object = &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: s.sink.URL},
		},
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mandrill"}, StringData: map[string]string{"api-key": apiKey}},
		s.object,
	} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the webhook is Ready", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s.object), s.object); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(s.object.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("the conditions are %+v", s.object.Status.Conditions)
		}
		return nil
	})
}

// emit makes Mandrill send an event.
func (s *stack) emit(t *testing.T) {
	t.Helper()
	if _, err := s.account.Emit("open"); err != nil {
		t.Fatal(err)
	}
}

// deliver makes Mandrill send an event, and waits until the sink has accepted it.
func (s *stack) deliver(t *testing.T) {
	t.Helper()
	before := s.sink.accepted.Load()
	s.emit(t)
	grows(t, "events that the sink accepts", &s.sink.accepted, before)
}

// grows waits until a counter is above what it was.
func grows(t *testing.T, what string, counter *atomic.Int64, before int64) {
	t.Helper()
	eventually(t, what, func() error {
		if counter.Load() == before {
			return fmt.Errorf("still %d", before)
		}
		return nil
	})
}
