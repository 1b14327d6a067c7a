package buffers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

const backlogLong = `backlog works on the batches that wait in the buffers of the receivers. It needs the same rights as dead-letters.`

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
	t, since := &tool{env: env}, time.Duration(0)
	command := &cobra.Command{
		Use: "list", Short: "List the batches that wait", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return t.backlog(command.Context(), since) },
	}
	t.addFlags(command.Flags())
	t.addWebhook(command.Flags())
	t.addLimit(command.Flags())
	t.format.AddFlag(command.Flags())
	command.Flags().DurationVar(&since, "since", 0, "only those received within this time, such as 1h")
	return command
}

func (t *tool) backlog(ctx context.Context, since time.Duration) error {
	if err := t.connect(ctx); err != nil {
		return err
	}
	args := []string{"backlog", "list", "--output=json"}
	if t.webhook != "" {
		args = append(args, "--webhook="+t.webhook)
	}
	if since > 0 {
		args = append(args, "--since="+since.String())
	}
	if t.limit > 0 {
		args = append(args, "--limit="+strconv.Itoa(t.limit+1))
	}
	batches := []Batch{}
	err := t.each(ctx, args, func(buffer access.Buffer, out []byte) error {
		page, err := decode[[]Batch](buffer, out)
		for i := range page {
			page[i].Name = pod(buffer) + "/" + page[i].Position
		}
		batches = append(batches, page...)
		return err
	})
	if err != nil {
		return err
	}
	more := t.limit > 0 && len(batches) > t.limit
	if more {
		batches = batches[:t.limit]
	}
	return t.done(t.format.Print(t.env.Out, batches, func(w io.Writer) error { return t.printBacklog(w, batches, more) }))
}

func (t *tool) printBacklog(w io.Writer, batches []Batch, more bool) error {
	if len(batches) == 0 {
		_, err := fmt.Fprintln(w, "Nothing waits.")
		return err
	}
	rows := [][]string{{"NAME", "WEBHOOK", "EVENTS", "BYTES", "RECEIVED", "ID"}}
	for _, batch := range batches {
		rows = append(rows, []string{
			batch.Name, batch.Webhook, strconv.Itoa(batch.Events), strconv.FormatInt(batch.Stored, 10), output.Age(t.env.Now().Sub(batch.Received)), batch.ID,
		})
	}
	if err := output.Columns(w, rows); err != nil || !more {
		return err
	}
	_, err := fmt.Fprintf(w, "\nThere are more than these %d: narrow them down by --webhook and --since, or give --limit.\n", t.limit)
	return err
}

func newTakeOut(env *access.Env, verb, short string) *cobra.Command {
	t, yes := &tool{env: env}, false
	command := &cobra.Command{
		Use: verb + " POSITION...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return t.takeOut(command.Context(), verb, args, yes)
		},
	}
	t.addFlags(command.Flags())
	if verb == "drop" {
		command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return command
}

func (t *tool) takeOut(ctx context.Context, verb string, names []string, yes bool) error {
	if err := t.connect(ctx); err != nil {
		return err
	}
	if verb == "drop" {
		if err := t.confirm(yes, "Drop "+output.Counted(len(names), "batch", "batches")+" with all events"); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range names {
		buffer, position, err := t.named(name)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		out, err := t.run(ctx, buffer, nil, "backlog", verb, position)
		errs = append(errs, err)
		if _, err := fmt.Fprintf(t.env.Out, "%s: %s", buffer.Name, out); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
