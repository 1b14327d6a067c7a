package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	namespace = "mandrill-operator-system"
	// bufferBytes is the limit of the buffer: 1 GiB, far more than a demo needs.
	bufferBytes = "1073741824"
)

// stack is what the demo runs: control plane, emulator, receiver, operator.
type stack struct {
	told                        *narrator
	folder, kubectl, kubeconfig string
	mandrillURL                 string // of the emulator
	receiver                    *process
	receiverURL                 string // of the webhooks
	pageURL, metricsURL         string // of the receiver
	operatorMetricsURL          string
	stoppers                    []func() error
}

// stop stops everything, in reverse order of its start.
func (s *stack) stop() error {
	var errs []error
	for i := len(s.stoppers) - 1; i >= 0; i-- {
		errs = append(errs, s.stoppers[i]())
	}
	return errors.Join(errs...)
}

// program runs one of the project's programs until the stack stops.
func (s *stack) program(environment []string, name string, args ...string) (*process, error) {
	p := &process{name: name, args: args, environment: environment}
	if err := p.start(); err != nil {
		return nil, err
	}
	s.stoppers = append(s.stoppers, p.stop)
	return p, nil
}

// start starts the control plane, the emulated Mandrill, the receiver and the operator. The caller must stop the stack,
// also after an error.
func start(ctx context.Context, folder, consumerURL string, told *narrator) (*stack, error) {
	s := &stack{told: told, folder: folder}
	var err error
	if s.kubectl, err = findKubectl(ctx); err != nil {
		return s, err
	}
	told.say("Starting an API server and etcd …")
	environment := &envtest.Environment{ControlPlaneStartTimeout: deadline, ControlPlaneStopTimeout: deadline}
	s.stoppers = append(s.stoppers, environment.Stop) // also if it fails to start
	if _, err := environment.Start(); err != nil {
		return s, fmt.Errorf("starting the control plane (is KUBEBUILDER_ASSETS set?): %w", err)
	}
	s.kubeconfig = filepath.Join(folder, "kubeconfig")
	if err := addUser(environment, s.kubeconfig, "admin", "system:masters"); err != nil {
		return s, err
	}
	for _, account := range []string{"mandrill-operator", "mandrill-receiver"} {
		if err := addUser(environment, filepath.Join(folder, account), "system:serviceaccount:"+namespace+":"+account); err != nil {
			return s, err
		}
	}
	told.say("$ kubectl apply -k config")
	if err := s.run(ctx, "apply", "-k", "config"); err != nil {
		return s, err
	}
	err = retry(ctx, func(ctx context.Context) error { // kubectl does not wait for the first condition
		return s.run(ctx, "wait", "--for=condition=Established", "crd/mandrillwebhooks.mandrill-operator.io", "--timeout="+deadline.String())
	})
	if err != nil {
		return s, err
	}
	return s, s.startPrograms(ctx, consumerURL)
}

func (s *stack) startPrograms(ctx context.Context, consumerURL string) error {
	var addresses [6]string
	for i := range addresses {
		var err error
		if addresses[i], err = loopback.Address(ctx); err != nil {
			return err
		}
	}
	mandrill, webhooks, metrics, page, reports, operatorMetrics := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4], addresses[5]
	s.mandrillURL, s.receiverURL, s.pageURL = "http://"+mandrill, "http://"+webhooks, "http://"+page+"/"
	s.metricsURL, s.operatorMetricsURL = "http://"+metrics+"/metrics", "http://"+operatorMetrics+"/metrics"
	s.told.say("Starting the emulated Mandrill, the receiver and the operator …")
	_, err := s.program(nil, "mandrill-emulator", "--listen", mandrill, "--api-key", apiKey, "--batch-interval", "2s", "--retry-interval", "5s", "--valid-mx")
	if err != nil {
		return err
	}
	// There is no pod network here: the consumer plays an HTTP proxy, so that the Service's name leads to it.
	s.receiver, err = s.program([]string{"HTTP_PROXY=" + consumerURL, "http_proxy=" + consumerURL, "NO_PROXY=", "no_proxy="},
		"receiver", "--listen", webhooks, "--metrics-listen", metrics, "--page-listen", page, "--page-payloads", "--log-level", "error", "--shutdown-delay", "0s",
		"--operator-url", "http://"+reports, "--routes-secret", namespace+"/mandrill-receiver-routes",
		"--kubeconfig", filepath.Join(s.folder, "mandrill-receiver"),
		"--buffer", "embedded", "--buffer-dir", filepath.Join(s.folder, "buffer"), "--buffer-max-bytes", bufferBytes)
	if err != nil {
		return err
	}
	_, err = s.program(nil, "operator", "--public-url", s.receiverURL+"/mandrill", "--mandrill-api-url", s.mandrillURL+"/api/1.0",
		"--kubeconfig", filepath.Join(s.folder, "mandrill-operator"), "--log-level", "warn", "--metrics-listen", operatorMetrics, "--health-listen", "0",
		"--reports-listen", reports, "--resync-interval", "2s")
	return errors.Join(err, waitFor(ctx, s.mandrillURL+"/emulator/"), waitFor(ctx, s.receiverURL))
}

// waitFor waits until a server answers at a URL.
func waitFor(ctx context.Context, url string) error {
	return retry(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("no answer from %s: %w", url, err)
		}
		return response.Body.Close()
	})
}

// retry calls a function until it returns no error, or the deadline has passed.
func retry(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for {
		err := call(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// addUser writes a kubeconfig for a user with the rights of its groups and role bindings.
func addUser(environment *envtest.Environment, path, name string, groups ...string) error {
	user, err := environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return fmt.Errorf("adding the user %s: %w", name, err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
	}
	return os.WriteFile(path, kubeconfig, 0o600)
}

// findKubectl returns the kubectl in PATH, the one beside the API server, or else builds one.
func findKubectl(ctx context.Context) (string, error) {
	for _, name := range []string{"kubectl", filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	command := exec.CommandContext(ctx, "hack/cluster/build.sh", "kubectl")
	command.Stderr = os.Stderr
	folder, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("building kubectl: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(folder)), "kubectl"), nil
}
