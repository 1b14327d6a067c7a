// Package cli_test runs kubectl-mandrill against a real API server, a real operator, real receivers and an emulated Mandrill. There is no
// kubelet: what the program would run in a pod runs on this machine. test/e2e has it with pods.
package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const (
	system   = "mandrill-operator-system"
	apiKey   = "md-sentinel-api-key-4711"
	otherKey = "md-sentinel-api-key-0815" // of another account
	patience = 2 * time.Minute
)

var (
	environment *envtest.Environment
	config      *rest.Config
	admin       client.Client
	folder      string // for programs, kubeconfigs and buffers; its path is short, because sockets are in it
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "these tests need an API server: run make test-system, or set KUBEBUILDER_ASSETS to what hack/cluster/build.sh etcd kube-apiserver prints")
		return 1
	}
	ctrl.SetLogger(logr.Discard())
	var err error
	if folder, err = os.MkdirTemp("", "mc"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	if output, err := exec.Command("go", "build", "-o", folder, "../../cmd/receiver", "../../cmd/operator").CombinedOutput(); err != nil {
		fmt.Fprintln(os.Stderr, string(output))
		return 1
	}
	environment = &envtest.Environment{
		CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: patience}, ControlPlaneStartTimeout: patience,
	}
	defer environment.Stop()
	if config, err = environment.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	scheme, err := access.Scheme()
	if err != nil {
		panic(err)
	}
	if admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		panic(err)
	}
	if err := apply(context.Background(), "../../config/namespace.yaml", "../../config/rbac/role.yaml", "../../config/rbac/bindings.yaml"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// apply creates the objects of files.
func apply(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for document := range strings.SplitSeq(string(data), "\n---") {
			object := map[string]any{}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil || len(object) == 0 {
				continue
			}
			if err := admin.Create(ctx, unstructured(object)); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// stack is an installation with one receiver, behind an ingress that can be broken.
type stack struct {
	t         *testing.T
	mandrill  *mandrilltest.Server
	account   *mandrilltest.Account
	api       *httptest.Server
	ingress   *httptest.Server
	receiver  string
	health    string
	page      string
	bufferDir string
	broken    atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // true: it has answered
	sink      *httptest.Server
	answer    atomic.Int64
	hang      atomic.Bool
	events    atomic.Int64
	subjects  chan string  // of the events
	marked    atomic.Int64 // of the events, those with the extension mandrilltest
	process   *exec.Cmd
	start     func()
	rights    *rest.Config
	podName   string
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, rights: config, subjects: make(chan string, 1000)}
	s.answer.Store(http.StatusAccepted)
	s.sink = httptest.NewServer(http.HandlerFunc(s.serveSink))
	t.Cleanup(s.sink.Close)
	s.mandrill = mandrilltest.New(mandrilltest.Options{APIKeys: []string{apiKey, otherKey}, BatchInterval: 100 * time.Millisecond, RetryInterval: time.Second})
	t.Cleanup(s.mandrill.Close)
	s.account = s.mandrill.Account(apiKey)
	s.api = httptest.NewServer(s.mandrill)
	t.Cleanup(s.api.Close)
	s.receiver, s.health, s.page = s.address(), s.address(), s.address()
	target, err := url.Parse("http://" + s.receiver)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	s.ingress = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken := s.broken.Load(); broken == nil || !(*broken)(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.ingress.Close)
	s.bufferDir = filepath.Join(folder, fmt.Sprintf("b%d", time.Now().UnixNano()%1e6))
	s.startPrograms()
	return s
}

func (s *stack) address() string {
	s.t.Helper()
	address, err := loopback.Address(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return address
}

func (s *stack) serveSink(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // also before a wait: only then the server notices that the client is gone
	if s.hang.Load() {
		<-r.Context().Done()
		return
	}
	status := int(s.answer.Load())
	if status < 300 {
		s.events.Add(1)
		select {
		case s.subjects <- r.Header.Get("Ce-Subject"):
		default:
		}
		if r.Header.Get("Ce-Mandrilltest") == "true" {
			s.marked.Add(1)
		}
	}
	w.WriteHeader(status)
}

func (s *stack) startPrograms() {
	s.t.Helper()
	operatorReports := s.address()
	pod := fmt.Sprintf("mandrill-receiver-%d", time.Now().UnixNano()%1e9)
	args := []string{
		"--listen=" + s.receiver, "--metrics-listen=" + s.health, "--shutdown-delay=0s", "--buffer=embedded", "--buffer-dir=" + s.bufferDir,
		"--buffer-max-bytes=1Gi", "--routes-secret=" + system + "/mandrill-receiver-routes", "--allow-sink-hosts=127.0.0.1",
		"--operator-url=http://" + operatorReports, "--page-listen=" + s.page,
	}
	s.podName = pod
	token := s.pod(pod, args)
	tokenFile := filepath.Join(folder, pod)
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	launched := append(args, "--report-token-file="+tokenFile, "--kubeconfig="+s.kubeconfig("mandrill-receiver"))
	s.start = func() { s.process = s.launch("receiver", launched) }
	s.start()
	s.launch("operator", []string{
		"--public-url=" + s.ingress.URL + "/mandrill", "--mandrill-api-url=" + s.api.URL + "/api/1.0", "--kubeconfig=" + s.kubeconfig("mandrill-operator"),
		"--metrics-listen=0", "--health-listen=0", "--reports-listen=" + operatorReports, "--resync-interval=1s", "--allow-sink-hosts=127.0.0.1",
	})
	s.eventually("the receiver is ready", func() error {
		response, err := http.Get("http://" + s.health + "/readyz")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// launch starts a program until the test ends.
func (s *stack) launch(name string, args []string) *exec.Cmd {
	s.t.Helper()
	log := &logbuffer.Buffer{}
	process := exec.Command(filepath.Join(folder, name), args...)
	process.Stderr = log
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
		if s.t.Failed() {
			lines := strings.Split(log.String(), "\n")
			s.t.Logf("%s:\n%s", name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
	return process
}

func (s *stack) kubeconfig(account string) string {
	s.t.Helper()
	user, err := environment.AddUser(envtest.User{Name: "system:serviceaccount:" + system + ":" + account}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := user.KubeConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(folder, fmt.Sprintf("k%d", time.Now().UnixNano()))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// pod makes the pod of the receiver, which no kubelet starts, and returns a token of it.
func (s *stack) pod(name string, args []string) (token string) {
	s.t.Helper()
	no, yes := false, true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name, Labels: map[string]string{"app.kubernetes.io/component": "receiver"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "mandrill-receiver", AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "receiver", Image: "receiver", Args: args, SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}}},
		},
	}
	s.create(pod)
	s.t.Cleanup(func() { _ = admin.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "receiver", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}}
	if err := admin.Status().Update(s.t.Context(), pod); err != nil {
		s.t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{reports.Audience}, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: pod.UID},
	}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "mandrill-receiver"}}
	if err := admin.SubResource("token").Create(s.t.Context(), account, request); err != nil {
		s.t.Fatal(err)
	}
	return request.Status.Token
}

func (s *stack) create(object client.Object) {
	s.t.Helper()
	if err := admin.Create(s.t.Context(), object); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) eventually(what string, condition func() error) {
	s.t.Helper()
	poll.NoError(s.t, patience, what, condition)
}

// localPods runs on this machine what the program runs in pods.
type localPods struct {
	health string
	change func(command []string) []string // of what another version of the receiver would understand
}

func (l localPods) Run(ctx context.Context, _ access.Receiver, command []string, stdin io.Reader, stdout io.Writer) error {
	if l.change != nil {
		command = l.change(command)
	}
	process := exec.CommandContext(ctx, filepath.Join(folder, filepath.Base(command[0])), command[1:]...)
	var stderr bytes.Buffer
	process.Stdin, process.Stdout, process.Stderr = stdin, stdout, &stderr
	err := process.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && ctx.Err() == nil {
		return &access.ExitError{Status: exit.ExitCode(), Stderr: stderr.String()}
	}
	return errors.Join(err, ctx.Err())
}

func (l localPods) Logs(context.Context, string, string, string, int64) ([]byte, error) {
	return []byte("a line of a log of ana.sentinel@customer.example, 203.0.113.77\n"), nil
}

func (l localPods) Metrics(ctx context.Context, _, _ string, _ int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.health+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// Forward forwards a port of this machine to another one.
func (l localPods) Forward(ctx context.Context, _ access.Receiver, local, remote int, ready func(port int)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", local))
	if err != nil {
		return &access.PortError{Port: local}
	}
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { // with the host that the browser names
		r.Out.URL.Scheme, r.Out.URL.Host = "http", fmt.Sprintf("127.0.0.1:%d", remote)
	}}}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	ready(listener.Addr().(*net.TCPAddr).Port)
	_ = server.Serve(listener)
	return nil
}

// Tunnel connects to a port of this machine.
func (l localPods) Tunnel(ctx context.Context, _ access.Receiver, remote int, ready func(access.Dial)) error {
	ready(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", remote))
	})
	<-ctx.Done()
	return nil
}

// result is what a command has printed, and its status.
type result struct {
	out, err string
	status   int
}

// env is what the program is run with.
func (s *stack) env(namespace string, out, errOut io.Writer, pods access.Pods) *access.Env {
	return &access.Env{
		In: strings.NewReader(""), Out: out, Err: errOut, Now: time.Now, Client: &http.Client{},
		Connect: func(*access.Flags) (*access.Cluster, error) {
			cluster, err := access.NewCluster(s.rights, namespace)
			if err == nil {
				cluster.Pods = pods
			}
			return cluster, err
		},
	}
}

func (s *stack) run(namespace string, args ...string) result {
	s.t.Helper()
	return s.runWith(namespace, localPods{health: s.health}, "", args...)
}

func (s *stack) runWith(namespace string, pods access.Pods, stdin string, args ...string) result {
	s.t.Helper()
	var out, errOut logbuffer.Buffer
	env := s.env(namespace, &out, &errOut, pods)
	env.In = strings.NewReader(stdin)
	status := cli.Main(s.t.Context(), env, append(args, "--mandrill-api-url="+s.api.URL+"/api/1.0"))
	return result{out.String(), errOut.String(), status}
}

func decodeJSON[T any](t *testing.T, text string) (value T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}
