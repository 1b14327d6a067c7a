package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// run runs kubectl. What it prints is shown with show, or when it fails.
func (s *stack) run(ctx context.Context, args ...string) error {
	output, err := s.output(ctx, args...)
	if err != nil {
		return fmt.Errorf("kubectl %v: %w\n%s", args, err, output)
	}
	return nil
}

func (s *stack) output(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, s.kubectl, args...) //nolint:gosec // a fixed program and arguments
	command.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	output, err := command.CombinedOutput()
	return string(output), err
}

// apply applies the samples and waits until they are ready, as a user would.
func (s *stack) apply(ctx context.Context) error {
	for _, step := range []struct {
		tell string // empty: nothing
		args []string
	}{
		{"$ kubectl apply -f config/samples/transactional.yaml", []string{"apply", "-f", "config/samples/transactional.yaml"}},
		{"$ kubectl wait --for=condition=Ready -n shop mandrillwebhook/transactional",
			[]string{"wait", "--for=condition=Ready", "-n", "shop", "mandrillwebhook/transactional", "--timeout=" + deadline.String()}},
		{"$ kubectl patch mandrillwebhook -n shop transactional …   # a route for inbound mail",
			[]string{"patch", "mandrillwebhook", "-n", "shop", "transactional", "--type=merge", "-p", `{"spec":{"inbound":{"routes":[{"domain":"in.shop.example","pattern":"help-*"}]}}}`}},
		{"", []string{"wait", "--for=condition=InboundReady", "-n", "shop", "mandrillwebhook/transactional", "--timeout=" + deadline.String()}},
	} {
		if step.tell != "" {
			s.told.say("%s", step.tell)
		}
		if err := s.run(ctx, step.args...); err != nil {
			described, _ := s.output(ctx, "describe", "mandrillwebhook", "-n", "shop")
			return fmt.Errorf("%w\n%s", err, described)
		}
	}
	listed, err := s.output(ctx, "get", "mandrillwebhook", "-n", "shop")
	s.told.say("$ kubectl get mandrillwebhook -n shop\n%s", listed)
	return err
}

// emit makes events at the emulated Mandrill, and returns them. They are sent with the next batch.
func (s *stack) emit(ctx context.Context, request string) ([]string, error) {
	var emitted struct{ Events []string }
	err := s.control(ctx, "events", request, &emitted)
	return emitted.Events, err
}

// flush makes Mandrill send its batches now.
func (s *stack) flush(ctx context.Context) error { return s.control(ctx, "flush", `{}`, &struct{}{}) }

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

// explain says why events do not arrive, from what the receiver says at /status and what the sink answered.
func (s *stack) explain(ctx context.Context, c *consumer) error {
	var causes []error
	c.mu.Lock()
	if c.fault != nil {
		causes = append(causes, fmt.Errorf("your sink does not take them: %w", c.fault))
	}
	c.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.metricsURL, "metrics")+"status", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return errors.Join(append(causes, fmt.Errorf("the receiver does not answer: %w", err))...)
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	var status status
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return errors.Join(append(causes, err)...)
	}
	return errors.Join(append(causes, status.causes()...)...)
}

// status is the part of /status that says why events do not arrive.
type status struct {
	NotReady string
	Webhooks []struct {
		Name               string
		ReceivedEvents     int
		WaitingEvents      int
		DeadLetters        int
		LastReceivedAt     string
		LastBadSignatureAt string
		FailingSince       string
		Failure            struct {
			Reason, At string
			Status     int
		}
	}
}

func (s *status) causes() (causes []error) {
	if s.NotReady != "" {
		causes = append(causes, fmt.Errorf("the receiver is not ready: %s", s.NotReady))
	}
	for _, w := range s.Webhooks {
		if w.LastReceivedAt == "" {
			causes = append(causes, fmt.Errorf("%s: no batch with a good signature has reached the receiver", w.Name))
		}
		if w.LastBadSignatureAt != "" {
			causes = append(causes, fmt.Errorf("%s: a batch was signed with an unknown key", w.Name))
		}
		if w.FailingSince != "" {
			causes = append(causes, fmt.Errorf("%s: the sink fails: %s, status %d", w.Name, w.Failure.Reason, w.Failure.Status))
		}
		if w.WaitingEvents > 0 || w.DeadLetters > 0 {
			causes = append(causes, fmt.Errorf("%s: %d events wait in the buffer, and %d are dead letters", w.Name, w.WaitingEvents, w.DeadLetters))
		}
	}
	return causes
}
