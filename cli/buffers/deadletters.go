package buffers

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

const deadLettersLong = `dead-letters works on events that were given up and are kept in the buffers of the receivers.

It runs the receiver's own subcommand in a pod of each buffer, so it needs the rights to list pods and to create pods/exec in the
namespace of the receivers, or of the sidecar. The API server's audit log has the command, without the address of --recipient.`

// DeadLetter is a dead letter as receivers list it.
type DeadLetter struct {
	Name         string    `json:"name"` // POD/SEQ
	Seq          uint64    `json:"seq"`
	Webhook      string    `json:"webhook"`
	Type         string    `json:"type,omitempty"`
	ID           string    `json:"id"`
	Reason       string    `json:"reason"`
	Status       int       `json:"status,omitempty"`
	Attempts     int       `json:"attempts"`
	Received     time.Time `json:"received"`
	DeadLettered time.Time `json:"deadLettered"`
	Events       int       `json:"events,omitempty"`
}

// filter has the flags that select dead letters.
type filter struct {
	kind, reason string
	since        time.Duration
}

func (f *filter) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kind, "type", "", "only of this type, such as hard_bounce or com.mandrill.message.hard_bounce")
	flags.StringVar(&f.reason, "reason", "", "only with this reason: refused, exhausted, expired, webhook_deleted, quarantined or set_aside")
	flags.DurationVar(&f.since, "since", 0, "only those given up within this time, such as 24h")
}

func (f *filter) args(webhook string) (args []string) {
	for _, flag := range []struct{ name, value string }{{"webhook", webhook}, {"type", f.kind}, {"reason", f.reason}} {
		if flag.value != "" {
			args = append(args, "--"+flag.name+"="+flag.value)
		}
	}
	if f.since > 0 {
		args = append(args, "--since="+f.since.String())
	}
	return args
}

// NewDeadLetters returns the command dead-letters.
func NewDeadLetters(env *access.Env) *cobra.Command {
	return group("dead-letters", "List, show, redrive and purge events that were given up", deadLettersLong,
		newList(env), newShow(env, "dead-letters", "SEQ", "Show a dead letter: its event, and the sink's answer"),
		newWork(env, "redrive", "Deliver dead letters again"), newWork(env, "purge", "Delete dead letters, or the events of a recipient"))
}

func newList(env *access.Env) *cobra.Command {
	t, f := &tool{env: env}, &filter{}
	command := &cobra.Command{
		Use: "list", Short: "List dead letters", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return t.list(command.Context(), f) },
	}
	t.addFlags(command.Flags())
	t.addWebhook(command.Flags())
	t.addLimit(command.Flags())
	t.format.AddFlag(command.Flags())
	f.add(command.Flags())
	return command
}

func (t *tool) list(ctx context.Context, f *filter) error {
	if err := t.connect(ctx); err != nil {
		return err
	}
	args := append([]string{"dead-letters", "list", "--output=json"}, f.args(t.webhook)...)
	if t.limit > 0 {
		args = append(args, "--limit="+strconv.Itoa(t.limit+1)) // one more, to see whether there are more
	}
	rows, more := output.NewSequence(t.format, t.env.Out, "NAME", "WEBHOOK", "TYPE", "REASON", "STATUS", "ATTEMPTS", "RECEIVED", "GIVEN UP"), false
	err := eachValue(ctx, t, args, func(buffer access.Buffer, letter DeadLetter) error {
		if more = t.limit > 0 && rows.Count() == t.limit; more {
			return nil
		}
		letter.Name = fmt.Sprintf("%s/%d", pod(buffer), letter.Seq)
		return rows.Add(letter, func() []string { return letter.row(t.env.Now()) })
	})
	if err != nil {
		return err
	}
	none := "There are no dead letters."
	if t.failed {
		none = "No dead letters are known: not all receivers have answered."
	}
	return t.done(t.endList(rows, none, more, "--webhook, --type, --reason and --since"))
}

// endList ends the output of a list, and says in a table whether there is more.
func (t *tool) endList(rows *output.Sequence, none string, more bool, flags string) error {
	if err := rows.End(none); err != nil || !more || t.format != output.Table {
		return err
	}
	_, err := fmt.Fprintf(t.env.Out, "\nThere are more than these %d: narrow them down by %s, or give --limit.\n", t.limit, flags)
	return err
}

// row is the row in a table.
func (d *DeadLetter) row(now time.Time) []string {
	kind, status := d.Type, "-"
	if d.Events > 0 {
		kind = fmt.Sprintf("batch of %d", d.Events)
	}
	if d.Status != 0 {
		status = strconv.Itoa(d.Status)
	}
	return []string{
		d.Name, d.Webhook, kind, d.Reason, status, strconv.Itoa(d.Attempts), output.Age(now.Sub(d.Received)), output.Age(now.Sub(d.DeadLettered)),
	}
}

// newShow returns a command that shows one thing of a buffer.
func newShow(env *access.Env, subcommand, what, short string) *cobra.Command {
	t := &tool{env: env}
	command := &cobra.Command{
		Use: "show " + what, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := t.connect(command.Context()); err != nil {
				return err
			}
			buffer, name, err := t.named(args[0])
			if err != nil {
				return err
			}
			out, err := t.run(command.Context(), buffer, nil, subcommand, "show", name)
			if err != nil {
				return err
			}
			_, err = t.env.Out.Write(out)
			return err
		},
	}
	t.addFlags(command.Flags())
	return command
}

// work are the flags of redrive and purge.
type work struct {
	filter
	verb               string
	all, dryRun, yes   bool
	recipient, message string
}

func newWork(env *access.Env, verb, short string) *cobra.Command {
	t, w := &tool{env: env}, &work{verb: verb}
	command := &cobra.Command{
		Use: verb + " [SEQ...]", Short: short,
		RunE: func(command *cobra.Command, args []string) error { return t.work(command.Context(), w, args) },
	}
	flags := command.Flags()
	t.addFlags(flags)
	t.addWebhook(flags)
	t.format.AddFlag(flags)
	w.add(flags)
	flags.BoolVar(&w.all, "all", false, "all that exist now, in all buffers")
	flags.BoolVar(&w.dryRun, "dry-run", false, "count the events and change nothing")
	if verb == "purge" {
		flags.BoolVarP(&w.yes, "yes", "y", false, "do not ask")
		flags.StringVar(&w.recipient, "recipient", "", "erase the events of this address, also those that wait; - reads it from standard input")
		flags.StringVar(&w.message, "message", "", "erase the events of this message, also those that wait: Mandrill's _id")
	}
	return command
}

func (t *tool) work(ctx context.Context, w *work, names []string) error {
	if len(names) > 0 && (w.all || t.webhook != "" || w.recipient != "" || w.message != "") {
		return fmt.Errorf("give numbers, or one of --webhook, --all, --recipient and --message")
	}
	if len(names) == 0 && !w.all && t.webhook == "" && w.recipient == "" && w.message == "" {
		return fmt.Errorf("nothing is selected: give numbers that kubectl mandrill dead-letters list shows, --webhook, or --all")
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	if w.verb == "purge" && !w.dryRun {
		if err := t.confirm(w.yes, "Purge dead letters"); err != nil {
			return err
		}
	}
	switch {
	case w.recipient != "" || w.message != "":
		return t.done(t.erase(ctx, w))
	case len(names) > 0:
		return t.done(t.workByName(ctx, w, names))
	}
	args := append([]string{"dead-letters", w.verb, "--output=json", "--progress"}, w.args(t.webhook)...)
	if t.webhook == "" {
		args = append(args, "--all")
	}
	return t.done(t.workOnAll(ctx, w, w.with(args)))
}

// workOnAll works on what a filter selects in all buffers, and shows how far it has come. What was done stays done when it is interrupted.
func (t *tool) workOnAll(ctx context.Context, w *work, args []string) error {
	counts, total := map[string]int{}, 0
	err := eachValue(ctx, t, args, func(buffer access.Buffer, done workResult) error {
		total += done.DeadLetters - counts[buffer.Name]
		counts[buffer.Name] = done.DeadLetters
		if done.More && t.format == output.Table && output.Interactive(t.env.Err) {
			_, _ = fmt.Fprintf(t.env.Err, "%s: %s so far\n", buffer.Name, w.done(done.DeadLetters)) // progress only
		}
		return nil
	})
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: the dead letters that are left are still there; run the command again to go on (%w)", ctx.Err())
	}
	return t.report(w, total, err)
}

// workResult is what the receiver prints.
type workResult struct {
	DeadLetters int  `json:"deadLetters"`
	DryRun      bool `json:"dryRun"`
	More        bool `json:"more,omitempty"` // these are those so far
}

func (w *work) with(args []string) []string {
	if w.dryRun {
		args = append(args, "--dry-run")
	}
	return args
}

// workByName works on dead letters by their names. One that is gone was done by somebody else.
func (t *tool) workByName(ctx context.Context, w *work, names []string) error {
	total := 0
	type selection struct {
		buffer access.Buffer
		seqs   []string
	}
	var selected []selection
	for _, name := range names {
		buffer, seq, err := t.named(name)
		if err != nil {
			return err
		}
		if _, err := strconv.ParseUint(seq, 10, 64); err != nil {
			return fmt.Errorf("%q is not the number of a dead letter, as list shows it", name)
		}
		at := -1
		for i := range selected {
			if selected[i].buffer.Name == buffer.Name {
				at = i
			}
		}
		if at < 0 {
			at = len(selected)
			selected = append(selected, selection{buffer: buffer})
		}
		selected[at].seqs = append(selected[at].seqs, seq)
	}
	var failed error
	for _, s := range selected {
		out, err := t.run(ctx, s.buffer, nil, w.with(append([]string{"dead-letters", w.verb, "--output=json"}, s.seqs...))...)
		if done, decodeErr := decode[workResult](s.buffer, out); decodeErr == nil {
			total += done.DeadLetters
		}
		if err != nil {
			failed = err
		}
	}
	return t.report(w, total, failed)
}

// done says how many dead letters were worked on.
func (w *work) done(count int) string {
	verb := map[string]string{"redrive": "redrove", "purge": "purged"}[w.verb]
	if w.dryRun {
		verb = "would " + w.verb
	}
	return verb + " " + output.Counted(count, "dead letter", "dead letters")
}

func (t *tool) report(w *work, total int, err error) error {
	result := workResult{DeadLetters: total, DryRun: w.dryRun}
	printErr := t.format.Print(t.env.Out, result, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, w.done(total))
		return err
	})
	if err == nil {
		err = printErr
	}
	return err
}

// erase erases the events of a recipient or a message. The address goes by standard input, because the API server logs commands.
func (t *tool) erase(ctx context.Context, w *work) error {
	args, recipient := []string{"dead-letters", "purge"}, w.recipient
	if recipient == "-" {
		data, err := io.ReadAll(io.LimitReader(t.env.In, 4<<10))
		if err != nil {
			return fmt.Errorf("reading the address: %w", err)
		}
		recipient = strings.TrimSpace(string(data))
	}
	if recipient != "" {
		args = append(args, "--recipient=-")
	}
	if w.message != "" {
		args = append(args, "--message="+w.message)
	}
	if t.webhook != "" {
		args = append(args, "--webhook="+t.webhook)
	}
	for _, buffer := range t.buffers {
		var stdin io.Reader
		if recipient != "" {
			stdin = strings.NewReader(recipient + "\n")
		}
		out, err := t.run(ctx, buffer, stdin, w.with(args)...)
		if _, printErr := fmt.Fprintf(t.env.Out, "%s:\n%s", buffer.Name, out); printErr != nil {
			return printErr
		}
		if err != nil {
			t.failed = true
			_, _ = fmt.Fprintf(t.env.Err, "kubectl mandrill: %v\n", err)
		}
	}
	return nil
}
