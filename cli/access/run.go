package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mandrill-operator/mandrill-operator/version"
)

// Pods reaches into pods. The kubelets are reached through the API server; tests run the program on this machine.
type Pods interface {
	// Run runs a command in a receiver's container. The error of one that exits with another status than 0 is a *[ExitError].
	Run(ctx context.Context, receiver Receiver, command []string, stdin io.Reader, stdout io.Writer) error
	// Logs returns the end of a container's log.
	Logs(ctx context.Context, namespace, pod, container string, lines int64) ([]byte, error)
	// Metrics returns the metrics of a container that serves them at a port.
	Metrics(ctx context.Context, namespace, pod string, port int) ([]byte, error)
	// Forward forwards a port of this machine to a port of the loopback address of a receiver's pod, until ctx ends. It calls ready
	// with the port that it listens at; local 0 picks a free one. The error may be [ErrLost] or a *[PortError].
	Forward(ctx context.Context, receiver Receiver, local, remote int, ready func(port int)) error
	// Tunnel makes connections to a port of the loopback address of a receiver's pod, until ctx ends. The error may be [ErrLost].
	Tunnel(ctx context.Context, receiver Receiver, remote int, ready func(Dial)) error
}

// ExitError is the error of a program that exits with another status than 0.
type ExitError struct {
	Status int
	Stderr string
}

func (e *ExitError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		return fmt.Sprintf("it exited with status %d", e.Status)
	}
	return strings.TrimPrefix(text, "receiver: ")
}

// versionTimeout bounds the question for a receiver's version, which is asked after something else has failed.
const versionTimeout = 10 * time.Second

// tooOld is in the errors of receivers that do not know a flag or a subcommand.
var tooOld = regexp.MustCompile(`flag provided but not defined|unexpected argument|(?m)^receiver: give one of|there is no subcommand`)

// Run runs a subcommand of a receiver and returns an error that says what to do.
func (c *Cluster) Run(ctx context.Context, receiver Receiver, args []string, stdin io.Reader, stdout io.Writer) error {
	if !receiver.Running {
		return receiver.errNotRunning()
	}
	err := c.Pods.Run(ctx, receiver, append([]string{receiver.Program}, args...), stdin, stdout)
	exit := new(ExitError)
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return &ForbiddenError{"create pods/exec in namespace " + receiver.Namespace + ", by which the receivers are asked"}
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("the receiver %s did not answer in time: give it longer by --timeout, or look at its log", receiver)
	case errors.As(err, &exit) && tooOld.MatchString(exit.Stderr):
		return c.otherVersion(ctx, receiver, exit)
	case errors.As(err, &exit):
		return fmt.Errorf("%s: %w", receiver, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the pod %s is gone: run the command again", receiver)
	}
	return fmt.Errorf("asking %s: %w", receiver, err)
}

// otherVersion says which version a receiver has that does not understand a command.
func (c *Cluster) otherVersion(ctx context.Context, receiver Receiver, cause error) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), versionTimeout)
	defer cancel()
	found := "an unknown version"
	var out bytes.Buffer
	if err := c.Pods.Run(bounded, receiver, []string{receiver.Program, "--version"}, nil, &out); err == nil {
		fields := strings.Fields(out.String())
		if len(fields) > 1 {
			found = fields[1]
		}
	}
	return fmt.Errorf("the receiver %s has version %s and does not know what kubectl-mandrill %s asks: use the kubectl-mandrill of its version, or update it (%w)",
		receiver, found, version.Get().Version, cause)
}

func (r Receiver) errNotRunning() error {
	return fmt.Errorf("the receiver %s does not run (%s): look at its pod with kubectl describe", r, r.State)
}

// metricsPort is that of --metrics-listen by default.
const metricsPort = 9090

// ReceiverMetrics returns the metrics of a receiver.
func (c *Cluster) ReceiverMetrics(ctx context.Context, receiver Receiver) ([]byte, error) {
	if !receiver.Running {
		return nil, receiver.errNotRunning()
	}
	port := metricsPort
	if _, text, err := net.SplitHostPort(receiver.flag("metrics-listen")); err == nil {
		if named, err := strconv.Atoi(text); err == nil {
			port = named
		}
	}
	metrics, err := c.Pods.Metrics(ctx, receiver.Namespace, receiver.Pod, port)
	return metrics, Explain(err, "the metrics of "+receiver.String(), "get pods/proxy in namespace "+receiver.Namespace)
}

// RunInBuffer runs a subcommand with the flags that lead to a buffer, in the first receiver of it that runs.
func (c *Cluster) RunInBuffer(ctx context.Context, buffer Buffer, args []string, stdin io.Reader, stdout io.Writer) error {
	for _, receiver := range buffer.Receivers {
		if receiver.Running {
			place, _ := receiver.BufferArgs()
			return c.Run(ctx, receiver, append(args, place...), stdin, stdout)
		}
	}
	return buffer.errNotRunning()
}
