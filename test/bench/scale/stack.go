package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	systemNamespace = "mandrill-operator-system"
	routesSecret    = "mandrill-receiver-routes"
	apiKeySecret    = "mandrill"
)

// stack is everything that the benchmark runs.
type stack struct {
	dir                              string
	logLevel                         string
	died                             context.CancelCauseFunc // called when a program exits by itself
	environment                      *envtest.Environment
	admin                            client.Client
	watcher                          *watcher
	emulator                         *mandrilltest.Server
	calls                            *callCounter
	mandrill                         *http.Server
	mandrillURL                      string
	receiverAddress, receiverMetrics string
	operatorMetrics                  string
	receiver, operator               *harness.Program
}

// start starts everything except the operator and the receiver. The stack must be stopped, even after an error.
func start(ctx context.Context, died context.CancelCauseFunc, dir string, o options) (*stack, error) {
	s := &stack{dir: dir, logLevel: o.logLevel, died: died}
	harness.Logf("starting an API server and etcd")
	s.environment = &envtest.Environment{CRDDirectoryPaths: []string{"config/crd"}, ErrorIfCRDPathMissing: true}
	config, err := s.environment.Start()
	if err != nil {
		return s, fmt.Errorf("starting the control plane (is KUBEBUILDER_ASSETS set, and is this the project's root?): %w", err)
	}
	if err := s.connect(ctx, config); err != nil {
		return s, err
	}
	for _, account := range []string{"mandrill-operator", "mandrill-receiver"} {
		if err := s.addUser(account); err != nil {
			return s, err
		}
	}
	for _, manifest := range []string{"config/namespace.yaml", "config/rbac/role.yaml", "config/rbac/bindings.yaml"} {
		if err := s.apply(ctx, manifest); err != nil {
			return s, err
		}
	}
	if err := s.startMandrill(ctx, o.accounts); err != nil {
		return s, err
	}
	for i := range o.accounts {
		if err := s.addAccount(ctx, i); err != nil {
			return s, err
		}
	}
	for _, address := range []*string{&s.receiverAddress, &s.receiverMetrics, &s.operatorMetrics} {
		if *address, err = loopback.Address(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// stop stops everything in reverse order.
func (s *stack) stop() error {
	errs := []error{s.operator.Stop(), s.receiver.Stop()}
	if s.watcher != nil {
		s.watcher.stop()
	}
	if s.mandrill != nil {
		errs = append(errs, s.mandrill.Close())
		s.emulator.Close()
	}
	return errors.Join(append(errs, s.environment.Stop())...) // even after a start that failed half-way
}

// connect creates the administrator's client and watches MandrillWebhooks.
func (s *stack) connect(ctx context.Context, config *rest.Config) error {
	config.QPS = -1 // no client-side limit: the benchmark must not be the bottleneck
	scheme := runtime.NewScheme()
	err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err != nil {
		return fmt.Errorf("building the scheme: %w", err)
	}
	if s.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	s.watcher, err = watch(ctx, config, scheme)
	return err
}

// addUser writes a kubeconfig with the permissions of one of the project's service accounts.
func (s *stack) addUser(account string) error {
	user, err := s.environment.AddUser(envtest.User{Name: "system:serviceaccount:" + systemNamespace + ":" + account}, nil)
	if err != nil {
		return fmt.Errorf("adding the user %s: %w", account, err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", account, err)
	}
	return os.WriteFile(filepath.Join(s.dir, account), kubeconfig, 0o600)
}

// apply creates every object of a manifest.
func (s *stack) apply(ctx context.Context, path string) error {
	data, err := os.ReadFile(path) //nolint:gosec // our own manifest
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	for document := range strings.SplitSeq("\n"+string(data), "\n---") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			return fmt.Errorf("decoding %s: %w", path, err)
		}
		if len(object.Object) == 0 { // only comments
			continue
		}
		if err := s.admin.Create(ctx, object); err != nil {
			return fmt.Errorf("creating the objects of %s: %w", path, err)
		}
	}
	return nil
}

// An account has a namespace and an API key of the same number.
func namespaceOf(account int) string { return fmt.Sprintf("bench-%d", account) }
func keyOf(account int) string       { return fmt.Sprintf("bench-key-%d", account) }

func (s *stack) addAccount(ctx context.Context, account int) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(account)}}
	if err := s.admin.Create(ctx, namespace); err != nil {
		return fmt.Errorf("creating a namespace: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: apiKeySecret},
		StringData: map[string]string{"api-key": keyOf(account)},
	}
	if err := s.admin.Create(ctx, secret); err != nil {
		return fmt.Errorf("creating an API key's Secret: %w", err)
	}
	return nil
}

func (s *stack) startMandrill(ctx context.Context, accounts int) error {
	var keys []string
	for i := range accounts {
		keys = append(keys, keyOf(i))
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for Mandrill's API: %w", err)
	}
	s.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: keys})
	s.calls = &callCounter{next: s.emulator, calls: calls{}}
	s.mandrill = &http.Server{Handler: s.calls, ReadHeaderTimeout: 10 * time.Second}
	s.mandrillURL = "http://" + listener.Addr().String() + apiPrefix
	go func() { _ = s.mandrill.Serve(listener) }() // ends with Close
	return nil
}

func (s *stack) startReceiver() (err error) {
	s.receiver, err = harness.Start(s.died, "receiver", "--shutdown-delay=0s", "--listen", s.receiverAddress, "--metrics-listen", s.receiverMetrics,
		"--routes-secret", systemNamespace+"/"+routesSecret, "--kubeconfig", filepath.Join(s.dir, "mandrill-receiver"), "--log-level", s.logLevel)
	return err
}

// startOperator starts the operator with additional flags.
func (s *stack) startOperator(args ...string) (err error) {
	s.operator, err = harness.Start(s.died, "operator", append([]string{
		"--public-url", "http://" + s.receiverAddress + "/mandrill", "--mandrill-api-url", s.mandrillURL,
		"--kubeconfig", filepath.Join(s.dir, "mandrill-operator"), "--metrics-listen", s.operatorMetrics, "--health-listen", "0",
		"--log-level", s.logLevel, "--max-webhooks-per-namespace", "0", "--max-route-bytes-per-namespace", "0",
	}, args...)...)
	return err
}
