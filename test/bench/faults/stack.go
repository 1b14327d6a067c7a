package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

var routesSecret = types.NamespacedName{Namespace: "mandrill-operator-system", Name: "mandrill-receiver-routes"}

// readyIn is how long all objects without a fault may take.
const readyIn = 5 * time.Minute

// stack is everything that the benchmark runs.
type stack struct {
	options
	cancel      context.CancelFunc
	running     sync.WaitGroup
	environment *envtest.Environment
	scheme      *runtime.Scheme
	admin       client.Client
	emulator    *mandrilltest.Server
	api         *httptest.Server
	receiver    *httptest.Server
	counts      *counts
	failed      chan error

	mu       sync.Mutex
	fronts   map[string]*front
	silences map[string]net.Listener
}

// front is a namespace's way to the receiver.
type front struct {
	*httptest.Server
	url  string
	down atomic.Bool
}

// start starts everything. The stack must be stopped, even after an error.
func start(ctx context.Context, o options) (*stack, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stack{
		options: o, cancel: cancel, counts: &counts{list: map[countKey]int{}}, fronts: map[string]*front{}, silences: map[string]net.Listener{},
		failed: make(chan error, 10), scheme: runtime.NewScheme(),
		environment: &envtest.Environment{CRDDirectoryPaths: []string{"config/crd"}, ErrorIfCRDPathMissing: true},
	}
	if err := errors.Join(clientgoscheme.AddToScheme(s.scheme), v1alpha1.AddToScheme(s.scheme)); err != nil {
		return s, err
	}
	config, err := s.environment.Start()
	if err != nil {
		return s, fmt.Errorf("starting the control plane (is KUBEBUILDER_ASSETS set, and is this the project's root?): %w", err)
	}
	config.QPS = -1
	if s.admin, err = client.New(config, client.Options{Scheme: s.scheme}); err != nil {
		return s, err
	}
	if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: routesSecret.Namespace}}); err != nil {
		return s, err
	}
	var keys []string
	for _, f := range faults {
		if !f.noKey {
			keys = append(keys, keyOf(f))
		}
	}
	s.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: keys})
	s.api = httptest.NewServer(http.HandlerFunc(s.serveAPI))
	return s, errors.Join(s.startReceiver(ctx, config), s.startOperator(ctx, config))
}

func (s *stack) stop() error {
	s.cancel()
	s.running.Wait()
	for _, f := range s.fronts {
		f.CloseClientConnections()
		f.Close()
	}
	for _, listener := range s.silences {
		_ = listener.Close()
	}
	if s.api != nil {
		s.api.CloseClientConnections()
		s.api.Close()
		s.emulator.Close()
	}
	if s.receiver != nil {
		s.receiver.Close()
	}
	return s.environment.Stop()
}

// background runs a part until the end.
func (s *stack) background(what string, run func() error) {
	s.running.Go(func() {
		if err := run(); err != nil {
			s.failed <- fmt.Errorf("%s: %w", what, err)
		}
	})
}

func (s *stack) startReceiver(ctx context.Context, config *rest.Config) error {
	logger := slog.New(slog.DiscardHandler)
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loaded.Complete()
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	s.receiver = httptest.NewServer(receiver.NewHandler(receiver.Options{
		Routes: loaded, Sender: sink.NewSender(sink.Options{}), Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: logger,
	}))
	s.background("routes", func() error {
		return kube.WatchSecrets(ctx, clientset.CoreV1().Secrets(routesSecret.Namespace), routesSecret.Name, loaded, logger)
	})
	return nil
}

func (s *stack) startOperator(ctx context.Context, config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return countingTransport{next, s.counts} })
	managed := mandrillwebhook.ManagerOptions(s.scheme)
	managed.Metrics, managed.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	manager, err := ctrl.NewManager(config, managed)
	if err != nil {
		return err
	}
	operator := mandrillwebhook.New(mandrillwebhook.Options{
		Client: manager.GetClient(), Recorder: manager.GetEventRecorder("mandrill-operator"), RoutesSecret: routesSecret,
		Resync: s.resync, AllowSinkHosts: []string{"127.0.0.1"},
		NewAPI: func(key string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: s.api.URL + "/api/1.0"})
		},
	})
	if err := operator.SetupWithManager(ctx, manager); err != nil {
		return err
	}
	s.background("operator", func() error { return manager.Start(ctx) })
	return nil
}

// serveAPI counts the calls of each account, and answers those with a fault.
func (s *stack) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var request struct{ Key string }
	_ = json.Unmarshal(body, &request) // the emulator refuses a body that is not JSON
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/1.0/"), ".json")
	for _, f := range faults {
		if keyOf(f) != request.Key {
			continue
		}
		s.counts.add(namespaceOf(f), callsKind)
		if f.answer != nil && f.answer(w, r, name) {
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.emulator.ServeHTTP(w, r)
}

// front returns the namespace's way to the receiver. It counts what is not Mandrill's.
func (s *stack) front(namespace string) *front {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fronts[namespace]; f != nil {
		return f
	}
	target, err := url.Parse(s.receiver.URL)
	if err != nil {
		panic(err) // httptest made it
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	f := &front{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "Mandrill") {
			s.counts.add(namespace, probesKind)
		}
		if f.down.Load() {
			http.Error(w, "no receiver", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	f.url = f.URL
	s.fronts[namespace] = f
	return f
}

// silent returns the URL of a server that accepts connections, counts them and never answers.
func (s *stack) silent(namespace string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	listener := s.silences[namespace]
	if listener == nil {
		var err error
		if listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			panic(err) // without it nothing can be measured
		}
		s.silences[namespace] = listener
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return // it was closed
				}
				s.counts.add(namespace, probesKind)
				go discard(connection)
			}
		}()
	}
	return "http://" + listener.Addr().String()
}

// create creates the objects of a fault. Where the fault begins later it waits until they are Ready.
func (s *stack) create(ctx context.Context, f fault) error {
	namespace := namespaceOf(f)
	if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mandrill"}, StringData: map[string]string{"api-key": keyOf(f)}}
	if err := s.admin.Create(ctx, secret); err != nil {
		return err
	}
	for n := range s.objects {
		webhook := &v1alpha1.MandrillWebhook{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("webhook-", n)},
			Spec: v1alpha1.MandrillWebhookSpec{
				Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"},
				Sink: v1alpha1.Destination{URI: "http://sink.example/"},
			},
		}
		f.object(s, namespace, webhook)
		if f.prepare != nil {
			if err := f.prepare(ctx, s, webhook); err != nil {
				return err
			}
		}
		if err := s.admin.Create(ctx, webhook); err != nil {
			return err
		}
	}
	if f.begin == nil {
		return nil
	}
	return s.awaitReady(ctx, namespace)
}

func (s *stack) awaitReady(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	for {
		var list v1alpha1.MandrillWebhookList
		if err := s.admin.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		ready := 0
		for _, webhook := range list.Items {
			if meta.IsStatusConditionTrue(webhook.Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		if ready == s.objects {
			return nil
		}
		select {
		case err := <-s.failed:
			return err
		default:
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("waiting until the objects are ready, of which %d are: %w", ready, err)
		}
	}
}
