package gitops

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const (
	apiKey   = "md-gitops"
	patience = 3 * time.Minute
)

// cluster is an API server, and a folder for what the test writes.
type cluster struct {
	client      client.Client
	environment *envtest.Environment
	folder      string

	mu          sync.Mutex
	kubeconfigs map[string]string // by user
}

// startCluster starts an API server with the CRDs of Flux and of External Secrets. Ours comes with the release.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	c := &cluster{folder: t.TempDir(), kubeconfigs: map[string]string{}}
	c.environment = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join(flux(t), "crds"), externalSecrets(t)}, ErrorIfCRDPathMissing: true}
	t.Cleanup(func() {
		if err := c.environment.Stop(); err != nil {
			t.Error("stopping the control plane:", err)
		}
	})
	config, err := c.environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return c
}

// flux is the folder that hack/flux/build.sh prints.
func flux(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("GITOPS_FLUX")
	if folder == "" {
		t.Skip("there is no Flux: run make test-gitops")
	}
	return folder
}

// externalSecrets downloads the CRD of an ExternalSecret.
func externalSecrets(t *testing.T) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/external-secrets/external-secrets@v0.16.2")
	command.Dir = os.TempDir() // outside of this module, which does not need it
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Dir string }
	if err := yaml.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(module.Dir, "config/crds/bases/external-secrets.io_externalsecrets.yaml")
}

// kubeconfig writes the kubeconfig of a user and returns its path.
func (c *cluster) kubeconfig(name string, groups ...string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path := c.kubeconfigs[name]; path != "" {
		return path, nil
	}
	user, err := c.environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return "", err
	}
	data, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.folder, strings.ReplaceAll(name, ":", "-")+".kubeconfig")
	c.kubeconfigs[name] = path
	return path, os.WriteFile(path, data, 0o600)
}

// apply creates the objects of a manifest.
func (c *cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		if err := c.client.Create(t.Context(), object); err != nil {
			t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// program is a process of a test.
type program struct {
	command *exec.Cmd
	done    chan error
}

// startProgram starts a program whose output goes to a file of the folder.
func (c *cluster) startProgram(name, path string, env []string, args ...string) (*program, error) {
	log, err := os.Create(filepath.Join(c.folder, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &program{command: exec.Command(path, args...), done: make(chan error, 1)}
	p.command.Env = append(os.Environ(), env...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.command.Wait(); close(p.done); _ = log.Close() }()
	return p, nil
}

// stop ends a program in order.
func (p *program) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.command.Process.Kill()
		<-p.done
	}
}

// start is startProgram until the end of the test.
func (c *cluster) start(t *testing.T, name, path string, env []string, args ...string) *program {
	t.Helper()
	p, err := c.startProgram(name, path, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// logs shows the ends of all logs after a failure, without what Flux says about its progress.
func (c *cluster) logs(t *testing.T) {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(c.folder, "*.log"))
	for _, path := range paths {
		data, _ := os.ReadFile(path)
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(data)), "\n"), func(line string) bool { return strings.HasPrefix(line, `{"level":"info"`) })
		t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}

// startMandrill starts the emulated Mandrill and returns its account and its URL.
func startMandrill(t *testing.T) (*mandrilltest.Account, string) {
	t.Helper()
	emulator := mandrilltest.New(mandrilltest.Options{APIKeys: []string{apiKey}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(emulator.Close)
	server := httptest.NewServer(http.Handler(emulator))
	t.Cleanup(server.Close)
	return emulator.Account(apiKey), server.URL
}

// eventually waits until the condition holds, and fails with what it last said when it does not in time.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	begin := time.Now()
	poll.NoError(t, patience, what, condition)
	t.Logf("%s after %v", what, time.Since(begin).Round(100*time.Millisecond))
}

// run runs a command to its end.
func run(t *testing.T, folder string, env []string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...)
	command.Dir = folder
	command.Env = append(os.Environ(), env...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, output))
	}
	return strings.TrimSpace(string(output))
}
