package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/waiting"
	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

const backlogUsage = `receiver backlog lists, shows, drops and sets aside the batches in the buffer that wait for delivery.

  receiver backlog list      [--webhook NAME] [--since DURATION] [--type TYPE] [--limit N] [--output table|json]
  receiver backlog show      POSITION
  receiver backlog drop      POSITION... | --webhook NAME | --all [--since DURATION] [--dry-run]
  receiver backlog set-aside POSITION... | --webhook NAME | --all [--since DURATION] [--dry-run]

drop deletes batches, without asking. set-aside makes dead letters of them, one of each, which receiver dead-letters redrives or purges.
POSITION is one that list shows, such as batch:17, or remainder:4 for what remains of a batch that is partly delivered. --dry-run counts
the batches and changes nothing. --type lists batches with an event of this type: it reads each batch, and other events may be in it.

The command talks to the receiver in this container or on this machine: give its --buffer-dir or its --admin-socket. If the
buffer is in NATS, it talks to NATS instead: give the --buffer of the receivers and the flags for the connection.
`

// backlogStore gives access to the backlog of a buffer: through the admin socket of a receiver ([socketClient]), or directly
// ([journalStore]).
type backlogStore interface {
	Backlog(ctx context.Context, webhook string, after *journal.Position) (admin.BacklogPage, error)
	ShowWaiting(ctx context.Context, position journal.Position, w io.Writer) error
	Drop(ctx context.Context, positions []journal.Position) (journal.Removed, error)
	SetAside(ctx context.Context, positions []journal.Position) (journal.Removed, error)
}

// backlogCommand is one of the subcommands.
type backlogCommand struct {
	name      string
	do        func(*backlogCommand, context.Context, backlogStore) error
	now       func() time.Time
	stdout    io.Writer
	place     bufferPlace
	output    string
	limit     int
	selection waiting.Selection
}

// backlog runs receiver backlog.
func backlog(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(stdout, backlogUsage)
		return err
	}
	command, err := newBacklogCommand(args, stdout)
	if err != nil {
		return err
	}
	return command.place.use(ctx,
		func(client *socketClient) error { return command.do(command, ctx, client) },
		func(opened *journal.Journal) error { return command.do(command, ctx, journalBacklog{opened}) })
}

func newBacklogCommand(args []string, stdout io.Writer) (*backlogCommand, error) {
	commands := map[string]func(*backlogCommand, context.Context, backlogStore) error{
		"list": (*backlogCommand).list,
		"show": func(c *backlogCommand, ctx context.Context, store backlogStore) error {
			return store.ShowWaiting(ctx, c.selection.Positions[0], c.stdout)
		},
		"drop": func(c *backlogCommand, ctx context.Context, store backlogStore) error {
			return c.selection.Work(ctx, c.stdout, "dropped", store, store.Drop)
		},
		"set-aside": func(c *backlogCommand, ctx context.Context, store backlogStore) error {
			return c.selection.Work(ctx, c.stdout, "set aside", store, store.SetAside)
		},
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return nil, errors.New("give one of list, show, drop and set-aside after backlog; see receiver backlog -h" + didYouMean(args, commands))
	}
	command := &backlogCommand{name: args[0], do: commands[args[0]], now: time.Now, stdout: stdout}
	command.selection.Now = func() time.Time { return command.now() }
	return command, command.parse(args[1:])
}

// parse parses flags and positions, in any order.
func (c *backlogCommand) parse(args []string) error {
	flags := flag.NewFlagSet("receiver backlog "+c.name, flag.ContinueOnError)
	usage.Help(flags, "See receiver backlog -h.", nil)
	c.place.addFlags(flags)
	if c.name != "show" {
		c.selection.AddFlags(flags)
	}
	switch c.name {
	case "list":
		flags.IntVar(&c.limit, "limit", 0, "list at most so many; 0: all")
		addOutput(flags, &c.output)
	case "drop", "set-aside":
		c.selection.AddWork(flags)
	}
	for { // the flag package stops at the first position
		if err := usage.Parse(flags, args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		if c.name == "list" {
			return fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		position, err := admin.ParsePosition(flags.Arg(0))
		if err != nil {
			return err
		}
		c.selection.Positions = append(c.selection.Positions, position)
		args = flags.Args()[1:]
	}
	return c.check()
}

func (c *backlogCommand) check() error {
	if err := c.place.check(); err != nil {
		return err
	}
	switch {
	case checkOutput(c.output) != nil:
		return checkOutput(c.output)
	case c.selection.Since < 0 || c.limit < 0:
		return errors.New("--since and --limit must not be negative")
	case c.name == "show" && len(c.selection.Positions) != 1:
		return errors.New("give the position of one batch, as list shows it")
	case c.name == "drop" || c.name == "set-aside":
		return c.selection.Check(c.name)
	}
	return nil
}

// list prints the backlog, one page after the other.
func (c *backlogCommand) list(ctx context.Context, store backlogStore) error {
	write, end := c.table()
	if c.output == outputJSON {
		write, end = jsonArray[journal.WaitingBatch](c.stdout)
	}
	listed := 0
	err := c.selection.Each(ctx, store, func(batches []journal.WaitingBatch) (bool, error) {
		if c.limit > 0 {
			batches = batches[:min(len(batches), c.limit-listed)]
		}
		listed += len(batches)
		return c.limit == 0 || listed < c.limit, write(batches)
	})
	if err != nil {
		return err
	}
	return end()
}

// table returns a function that prints a page as a table, and one that ends the output. As in dead-letters list, each page has
// columns of its own widths.
func (c *backlogCommand) table() (write func([]journal.WaitingBatch) error, end func() error) {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
	lines := 0
	write = func(page []journal.WaitingBatch) error {
		if lines == 0 && len(page) > 0 {
			_, _ = fmt.Fprintln(out, "POSITION\tWEBHOOK\tEVENTS\tBYTES\tRECEIVED\tID")
		}
		lines += len(page)
		for _, batch := range page {
			_, _ = fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%s\t%s\n", batch.Position, batch.Webhook, batch.Events, batch.Stored, age(c.now().Sub(batch.Received)), batch.ID)
		}
		return out.Flush()
	}
	end = func() (err error) {
		if lines == 0 {
			_, err = io.WriteString(c.stdout, "nothing waits\n")
		}
		return err
	}
	return write, end
}

// jsonArray returns a function that prints a page as elements of a JSON array, and one that ends the array.
func jsonArray[T any](stdout io.Writer) (write func([]T) error, end func() error) {
	separator := "[\n  "
	write = func(page []T) error {
		for _, element := range page {
			data, err := json.Marshal(element)
			if err != nil {
				return fmt.Errorf("encoding the output: %w", err)
			}
			if _, err := fmt.Fprintf(stdout, "%s%s", separator, data); err != nil {
				return err
			}
			separator = ",\n  "
		}
		return nil
	}
	end = func() error {
		text := "\n]\n"
		if separator == "[\n  " {
			text = "[]\n"
		}
		_, err := io.WriteString(stdout, text)
		return err
	}
	return write, end
}

func counted(count int, one, many string) string {
	if count == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", count, many)
}
