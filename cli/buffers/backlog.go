package buffers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

const backlogLong = `backlog works on the batches that wait in the buffers of the receivers, as while a sink fails. It needs the rights to list pods and to
create pods/exec where receivers run.

A batch has the events that Mandrill has sent together: list --type shows those with an event of a type, and drop and set-aside take
whole batches. Events that receivers have given up do not wait: kubectl mandrill dead-letters has these, with --reason.`

// selection has the flags that select batches.
type selection struct {
	kind        string
	since       time.Duration
	all, dryRun bool
	yes         bool
}

var (
	errReason = errors.New("--reason is for dead-letters: what waits has not been given up, and has no reason")
	errType   = errors.New("--type is for backlog list: a batch may have events of several types, and drop and set-aside take all of it")
)

func (s *selection) add(flags *pflag.FlagSet) {
	flags.StringVar(&s.kind, "type", "", "only those with an event of this type, such as hard_bounce: reads each batch")
	flags.DurationVar(&s.since, "since", 0, "only those received within this time, such as 1h")
	flags.Func("reason", "", func(string) error { return errReason })
	_ = flags.MarkHidden("reason") // it is there for the sentence
}

func (s *selection) args(webhook string) (args []string) {
	for _, flag := range []struct{ name, value string }{{"webhook", webhook}, {"type", s.kind}} {
		if flag.value != "" {
			args = append(args, "--"+flag.name+"="+flag.value)
		}
	}
	if s.since > 0 {
		args = append(args, "--since="+s.since.String())
	}
	if s.all {
		args = append(args, "--all")
	}
	return args
}

func (s *selection) check(verb, webhook string, names []string) error {
	selected := s.all || webhook != ""
	switch {
	case s.kind != "":
		return errType
	case s.all && webhook != "":
		return errors.New("give one of --webhook and --all")
	case len(names) > 0 && (selected || s.since > 0):
		return errors.New("give positions, or --webhook or --all with or without --since")
	case len(names) == 0 && !selected:
		return fmt.Errorf("nothing is selected: give positions that kubectl mandrill backlog list shows, or %s --webhook NAME, or --all", verb)
	}
	return nil
}

// Batch is a batch that waits, as receivers list it.
type Batch struct {
	Name     string    `json:"name"` // POD/POSITION
	Position string    `json:"position"`
	Webhook  string    `json:"webhook"`
	ID       string    `json:"id"`
	Events   int       `json:"events"`
	Stored   int64     `json:"storedBytes"`
	Received time.Time `json:"received"`
}

// NewBacklog returns the command backlog.
func NewBacklog(env *access.Env) *cobra.Command {
	return group("backlog", "List, show, drop and set aside what waits in the buffers", backlogLong,
		newBacklogList(env), newShow(env, "backlog", "POSITION", "Show the events of a batch"),
		newTakeOut(env, "drop", "Delete batches that wait"), newTakeOut(env, "set-aside", "Make a dead letter of each batch, so that the next ones go on"))
}

func newBacklogList(env *access.Env) *cobra.Command {
	t, s := &tool{env: env}, &selection{}
	command := &cobra.Command{
		Use: "list", Short: "List the batches that wait", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return t.backlog(command.Context(), s) },
	}
	t.addFlags(command.Flags())
	t.addWebhook(command.Flags())
	t.addLimit(command.Flags())
	t.format.AddFlag(command.Flags())
	s.add(command.Flags())
	return command
}

func (t *tool) backlog(ctx context.Context, s *selection) error {
	if err := t.connect(ctx); err != nil {
		return err
	}
	args := append([]string{"backlog", "list", "--output=json"}, s.args(t.webhook)...)
	if t.limit > 0 {
		args = append(args, "--limit="+strconv.Itoa(t.limit+1))
	}
	rows, more := output.NewSequence(t.format, t.env.Out, "NAME", "WEBHOOK", "EVENTS", "BYTES", "RECEIVED", "ID"), false
	err := eachValue(ctx, t, args, func(buffer access.Buffer, batch Batch) error {
		if more = t.limit > 0 && rows.Count() == t.limit; more {
			return nil
		}
		batch.Name = pod(buffer) + "/" + batch.Position
		return rows.Add(batch, func() []string {
			return []string{
				batch.Name, batch.Webhook, strconv.Itoa(batch.Events), strconv.FormatInt(batch.Stored, 10), output.Age(t.env.Now().Sub(batch.Received)), batch.ID,
			}
		})
	})
	if err != nil {
		return err
	}
	none := "Nothing waits."
	if t.failed {
		none = "Nothing is known to wait: not all receivers have answered."
	}
	return t.done(t.endList(rows, none, more, "--webhook, --type and --since"))
}

func newTakeOut(env *access.Env, verb, short string) *cobra.Command {
	t, s := &tool{env: env}, &selection{}
	command := &cobra.Command{
		Use: verb + " [POSITION...]", Short: short,
		RunE: func(command *cobra.Command, args []string) error {
			return t.takeOut(command.Context(), verb, args, s)
		},
	}
	flags := command.Flags()
	t.addFlags(flags)
	t.addWebhook(flags)
	s.add(flags)
	_ = flags.MarkHidden("type") // it is there for the sentence
	flags.BoolVar(&s.all, "all", false, "all that wait now, in all buffers")
	flags.BoolVar(&s.dryRun, "dry-run", false, "count the batches and change nothing")
	if verb == "drop" {
		flags.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	}
	return command
}

func (t *tool) takeOut(ctx context.Context, verb string, names []string, s *selection) error {
	if err := s.check(verb, t.webhook, names); err != nil {
		return err
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	if verb == "drop" && !s.dryRun {
		if err := t.confirm(s.yes, "Drop "+t.described(s, names)+" with all events"); err != nil {
			return err
		}
	}
	command := []string{"backlog", verb}
	if s.dryRun {
		command = append(command, "--dry-run")
	}
	if len(names) == 0 {
		return t.done(t.each(ctx, append(command, s.args(t.webhook)...), func(buffer access.Buffer, out []byte) error {
			_, err := fmt.Fprintf(t.env.Out, "%s: %s", buffer.Name, out)
			return err
		}))
	}
	return t.takeOutByName(ctx, command, names)
}

// described says what is selected.
func (t *tool) described(s *selection, names []string) string {
	text := output.Counted(len(names), "batch", "batches")
	if len(names) == 0 {
		text = "all batches that wait"
	}
	if t.webhook != "" {
		text += " of " + t.webhook
	}
	if s.since > 0 {
		text += " and were received within " + s.since.String()
	}
	return text
}

// takeOutByName runs a command for each batch.
func (t *tool) takeOutByName(ctx context.Context, command, names []string) error {
	var errs []error
	for _, name := range names {
		buffer, position, err := t.named(name)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		out, err := t.run(ctx, buffer, nil, append(slices.Clone(command), position)...)
		errs = append(errs, err)
		if _, err := fmt.Fprintf(t.env.Out, "%s: %s", buffer.Name, out); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
