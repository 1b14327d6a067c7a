// Package buffers works on what is in the buffers of all receivers, by the receivers' own subcommands: dead letters and the backlog.
package buffers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/nearest"
)

// tool works on the buffers.
type tool struct {
	env     *access.Env
	timeout time.Duration
	webhook string
	limit   int
	format  output.Format

	cluster *access.Cluster
	buffers []access.Buffer
	failed  bool // a buffer did not answer
}

func (t *tool) addFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&t.timeout, "timeout", 5*time.Minute, "how long a receiver may take before it answers, and between two parts of its answer")
}

func (t *tool) addWebhook(flags *pflag.FlagSet) {
	flags.StringVar(&t.webhook, "webhook", "", "only of this webhook: NAMESPACE/NAME, or NAME in the namespace of --namespace")
}

func (t *tool) addLimit(flags *pflag.FlagSet) {
	flags.IntVar(&t.limit, "limit", 200, "show at most so many; 0 for all")
}

// connect finds the buffers.
func (t *tool) connect(ctx context.Context) error {
	cluster, err := t.env.Connect(&t.env.Flags)
	if err != nil {
		return err
	}
	t.cluster = cluster
	sidecars := cluster.Namespace
	if t.webhook != "" && !strings.Contains(t.webhook, "/") {
		t.webhook = cluster.Namespace + "/" + t.webhook
	}
	if namespace, _, ok := strings.Cut(t.webhook, "/"); ok {
		sidecars = namespace
	}
	receivers, err := cluster.Receivers(ctx, &t.env.Flags, sidecars)
	if err != nil {
		return err
	}
	if t.buffers = access.Buffers(receivers); len(t.buffers) == 0 {
		return errors.New("no receiver has a buffer: in Direct mode nothing waits, and Mandrill keeps what the sink does not accept")
	}
	return nil
}

// named returns the buffer of a reference such as mandrill-receiver-0/17, and the rest of it.
func (t *tool) named(reference string) (buffer access.Buffer, rest string, err error) {
	pod, rest, qualified := strings.Cut(reference, "/")
	if !qualified {
		if len(t.buffers) > 1 {
			return buffer, "", fmt.Errorf("there are %d buffers: write the name as list shows it, such as %s/%s", len(t.buffers), t.buffers[0].Receivers[0].Pod, reference)
		}
		return t.buffers[0], reference, nil
	}
	for _, buffer := range t.buffers {
		if slices.ContainsFunc(buffer.Receivers, func(r access.Receiver) bool { return r.Pod == pod }) {
			return buffer, rest, nil
		}
	}
	return buffer, "", fmt.Errorf("no receiver with a buffer has the name %s", pod)
}

// run runs a subcommand in a buffer, and returns what it prints.
func (t *tool) run(ctx context.Context, buffer access.Buffer, stdin io.Reader, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := t.stream(ctx, buffer, stdin, &out, args...)
	return out.Bytes(), err
}

// each runs a subcommand in every buffer. One that fails is named, and the others are asked all the same.
func (t *tool) each(ctx context.Context, args []string, call func(buffer access.Buffer, out []byte) error) error {
	for i, buffer := range t.buffers {
		t.asking(i)
		out, err := t.run(ctx, buffer, nil, args...)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.failed = true
			_, _ = fmt.Fprintf(t.env.Err, "kubectl mandrill: %v\n", err)
		}
		if len(out) == 0 {
			continue
		}
		if err := call(buffer, out); err != nil {
			return err
		}
	}
	return nil
}

// done returns the status for an incomplete result.
func (t *tool) done(err error) error {
	if err == nil && t.failed {
		return &output.StatusError{Status: output.StatusIncomplete}
	}
	return err
}

// decode reads what a receiver has printed. A newer one may have more fields, which are kept.
func decode[T any](buffer access.Buffer, out []byte) (value T, err error) {
	if err := json.Unmarshal(out, &value); err != nil {
		return value, fmt.Errorf("%s answered what cannot be read, maybe because its version is another: %w", buffer.Name, err)
	}
	return value, nil
}

// pod is the name of the receiver that stands for the buffer in references.
func pod(buffer access.Buffer) string { return buffer.Receivers[0].Pod }

// confirm asks before something is deleted, unless yes is true.
func (t *tool) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if _, err := fmt.Fprintf(t.env.Err, "%s? This cannot be undone. [y/N] ", what); err != nil {
		return err
	}
	var answer string
	if _, err := fmt.Fscanln(t.env.In, &answer); err != nil || !strings.HasPrefix(strings.ToLower(answer), "y") {
		return errors.New("nothing was deleted: answer y, or give --yes")
	}
	return nil
}

func group(name, short, long string, commands ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use: name, Short: short, Long: long,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Help()
			}
			var names []string
			for _, child := range commands {
				names = append(names, child.Name())
			}
			return fmt.Errorf("unknown command %q for kubectl mandrill %s%s", args[0], name, nearest.DidYouMean(args[0], names))
		},
	}
	command.AddCommand(commands...)
	return command
}
