// The demo runs everything on this machine: a real API server and etcd, the operator and the receiver with the
// rights that config/rbac gives them, an emulated Mandrill, and a consumer that prints each CloudEvent as one
// line of JSON on standard output. Everything else it prints goes to standard error.
//
//	KUBEBUILDER_ASSETS=<folder of etcd and kube-apiserver> go run ./hack/demo [-once]
//
// Run it in the project's root, with the three programs in bin/ (make build).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	apiKey = "demo-key" // as in the sample
	// deadline is how long a batch may take to arrive, and a program to start.
	deadline = 60 * time.Second
	// eventInterval is the time between events after the first batch.
	eventInterval = 3 * time.Second
)

func main() {
	once := flag.Bool("once", false, "exit after one batch: 0 when every event of it arrived")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *once); err != nil && (*once || !errors.Is(err, context.Canceled)) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...) }

func run(ctx context.Context, once bool) (err error) {
	folder, err := os.MkdirTemp("", "mandrill-operator-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	consumer, err := newConsumer(ctx)
	if err != nil {
		return err
	}
	defer consumer.Close()
	stack, err := start(ctx, folder, consumer.URL())
	defer func() { err = errors.Join(err, stack.stop()) }()
	if err != nil {
		return err
	}
	if err := stack.apply(ctx); err != nil {
		return err
	}
	sent, err := stack.send(ctx)
	if err != nil {
		return err
	}
	arrived, err := consumer.await(ctx, len(sent), deadline)
	if err != nil {
		return err
	}
	if err := check(sent, arrived); err != nil {
		return err
	}
	say("all %d events arrived, each byte for byte as Mandrill sent it", len(sent))
	if once {
		return nil
	}
	return stack.keepGoing(ctx)
}

// stack is what the demo runs: control plane, emulator, receiver, operator.
type stack struct {
	folder, kubectl, kubeconfig string
	mandrillURL                 string // of the emulator
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
func (s *stack) program(environment []string, name string, args ...string) error {
	command := exec.Command(filepath.Join("bin", name), args...) //nolint:gosec,noctx // ours; stopped by stop
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s (build it with make build): %w", name, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	s.stoppers = append(s.stoppers, func() error {
		_ = command.Process.Signal(syscall.SIGTERM) // fails if it has exited already: Wait reports that
		select {
		case err := <-exited:
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		case <-time.After(30 * time.Second):
			return errors.Join(fmt.Errorf("%s did not stop in 30 s", name), command.Process.Kill())
		}
	})
	return nil
}

// run runs kubectl. Its output goes to standard error, because standard output is for CloudEvents.
func (s *stack) run(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, s.kubectl, args...) //nolint:gosec // a fixed program and arguments
	command.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("kubectl %v: %w", args, err)
	}
	return nil
}

// apply applies the samples and waits until they are ready, as a user would.
func (s *stack) apply(ctx context.Context) error {
	say("kubectl apply -f config/samples/transactional.yaml")
	if err := s.run(ctx, "apply", "-f", "config/samples/transactional.yaml"); err != nil {
		return err
	}
	say("kubectl wait --for=condition=Ready -n shop mandrillwebhook/transactional")
	err := s.run(ctx, "wait", "--for=condition=Ready", "-n", "shop", "mandrillwebhook/transactional", "--timeout=60s")
	if err != nil {
		return errors.Join(err, s.run(ctx, "describe", "mandrillwebhook", "-n", "shop"))
	}
	say("kubectl patch mandrillwebhook -n shop transactional: add a route for inbound mail")
	err = errors.Join(
		s.run(ctx, "patch", "mandrillwebhook", "-n", "shop", "transactional", "--type=merge", "-p",
			`{"spec":{"inbound":{"routes":[{"domain":"in.shop.example","pattern":"help-*"}]}}}`),
		s.run(ctx, "wait", "--for=condition=InboundReady", "-n", "shop", "mandrillwebhook/transactional", "--timeout=60s"),
	)
	if err != nil {
		return errors.Join(err, s.run(ctx, "describe", "mandrillwebhook", "-n", "shop"))
	}
	return s.run(ctx, "get", "mandrillwebhook", "-n", "shop")
}

// send makes the emulated Mandrill send a batch with one event of each kind, inbound mail included, and returns the events.
func (s *stack) send(ctx context.Context) ([]string, error) {
	var emitted struct{ Events []string }
	if err := s.control(ctx, "events", `{}`, &emitted); err != nil {
		return nil, err
	}
	say("Mandrill sends a batch of %d events", len(emitted.Events))
	return emitted.Events, s.control(ctx, "flush", `{}`, &struct{}{})
}

// control calls one of the emulator's controls.
func (s *stack) control(ctx context.Context, name, body string, result any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.mandrillURL+"/emulator/"+name, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the emulator answered %s with %d: %s", name, response.StatusCode, answer)
	}
	return json.Unmarshal(answer, result)
}

// keepGoing makes an event every few seconds until the context ends.
func (s *stack) keepGoing(ctx context.Context) error {
	kubeconfig, err := filepath.Abs(s.kubeconfig)
	if err != nil {
		return err
	}
	say("sending more events until Ctrl-C; meanwhile you can try:")
	say("  export KUBECONFIG=%s", kubeconfig)
	say("  kubectl get mandrillwebhooks -A; kubectl describe mwh -n shop transactional; kubectl get secret -n shop")
	say("  curl -d '{\"kinds\": [\"click\"], \"count\": 3}' %s/emulator/events; curl -d '{}' %s/emulator/flush", s.mandrillURL, s.mandrillURL)
	kinds := []string{"send", "delivered", "open", "click"}
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(eventInterval):
		}
		if err := s.control(ctx, "events", fmt.Sprintf(`{"kinds":[%q]}`, kinds[i%len(kinds)]), &struct{}{}); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
