package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// letters are the dead letters of a buffer, wherever that is.
type deadLetterStore interface {
	List(ctx context.Context, filter journal.DeadLetterFilter, after uint64) (admin.DeadLetterPage, error)
	Show(ctx context.Context, seq uint64, w io.Writer) error
	Redrive(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error)
	Purge(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error)
}

const deadLettersUsage = `receiver dead-letters shows the events that were given up and are kept in the buffer, and has them delivered anew.

  receiver dead-letters list    [--webhook NAME] [--reason REASON] [--output table|json]
  receiver dead-letters show    SEQ
  receiver dead-letters redrive SEQ... | --webhook NAME [--reason REASON] | --all [--reason REASON]
  receiver dead-letters purge   SEQ... | --webhook NAME [--reason REASON] | --all [--reason REASON]

It asks the receiver that runs on this machine, or in this container: give its --buffer-dir, or its --admin-socket. Where the
buffer is NATS elsewhere, give the --buffer of the receivers instead, and the flags that say how it is reached.
`

// letterCommand is one of the subcommands.
type deadLetterCommand struct {
	name        string
	do          func(*deadLetterCommand, context.Context, deadLetterStore) error
	takes       bool // it takes numbers
	now         func() time.Time
	stdout      io.Writer
	socket, dir string
	buffer      bufferOptions // of servers elsewhere
	output      string
	request     admin.DeadLetterRequest
}

// deadLetters runs receiver dead-letters.
func deadLetters(ctx context.Context, args []string, stdout io.Writer) error {
	commands := map[string]*deadLetterCommand{
		"list":    {do: (*deadLetterCommand).list},
		"show":    {do: (*deadLetterCommand).show, takes: true},
		"redrive": {do: (*deadLetterCommand).redrive, takes: true},
		"purge":   {do: (*deadLetterCommand).purge, takes: true},
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, name) {
		_, err := io.WriteString(stdout, deadLettersUsage)
		return err
	}
	command := commands[name]
	if command == nil {
		return errors.New("give one of list, show, redrive and purge after dead-letters; receiver dead-letters -h says more")
	}
	command.name, command.now, command.stdout = name, time.Now, stdout
	if err := command.parse(args[1:]); err != nil {
		return err
	}
	if command.buffer.kind != "" {
		return command.atNATS(ctx)
	}
	client, err := newSocketClient(command.socket)
	if err != nil {
		return err
	}
	return command.do(command, ctx, client)
}

// parse reads flags, and the numbers among and after them.
func (c *deadLetterCommand) parse(args []string) error {
	flags := flag.NewFlagSet("receiver dead-letters "+c.name, flag.ContinueOnError)
	flags.StringVar(&c.socket, "admin-socket", "", "the --admin-socket of the running receiver")
	flags.StringVar(&c.dir, "buffer-dir", "", "instead: its --buffer-dir, where the socket is by default")
	flags.StringVar(&c.buffer.kind, "buffer", "", "instead: the URLs of NATS that the receivers have there, such as nats://nats:4222")
	c.buffer.addConnection(flags)
	if c.name != "show" {
		flags.StringVar(&c.request.Webhook, "webhook", "", "only those of this webhook, such as shop/a")
		flags.StringVar(&c.request.Reason, "reason", "", "only those with this reason: "+strings.Join(journal.Reasons, ", "))
	}
	switch c.name {
	case "list":
		flags.StringVar(&c.output, "output", "table", "table or json")
	case "redrive", "purge":
		flags.BoolVar(&c.request.All, "all", false, "all that there are now")
	}
	for { // flags may come after numbers
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		seq, err := strconv.ParseUint(flags.Arg(0), 10, 64)
		if err != nil || !c.takes {
			return fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		c.request.Seqs = append(c.request.Seqs, seq)
		args = flags.Args()[1:]
	}
	return c.check()
}

func (c *deadLetterCommand) check() error {
	places := 0
	for _, place := range []string{c.socket, c.dir, c.buffer.kind} {
		if place != "" {
			places++
		}
	}
	switch {
	case places == 0:
		return errors.New("give --buffer-dir DIR or --admin-socket PATH, as the running receiver has it, or the --buffer of receivers that use NATS elsewhere")
	case places > 1:
		return errors.New("give one of --buffer-dir, --admin-socket and --buffer")
	case c.name == "show" && len(c.request.Seqs) != 1:
		return errors.New("give the number of one dead letter, as list shows it")
	case c.name == "list" && c.output != "table" && c.output != "json":
		return errors.New("--output must be table or json")
	case c.request.Reason != "" && !slices.Contains(journal.Reasons, c.request.Reason):
		return errors.New("--reason must be one of " + strings.Join(journal.Reasons, ", "))
	}
	if c.buffer.kind != "" {
		if err := c.buffer.checkConnection(); err != nil {
			return err
		}
	}
	if c.socket == "" {
		c.socket = filepath.Join(c.dir, adminSocketName)
	}
	if c.name != "redrive" && c.name != "purge" {
		return nil
	}
	seqs, webhook, all := len(c.request.Seqs) > 0, c.request.Webhook != "", c.request.All
	switch {
	case !seqs && !webhook && !all:
		return fmt.Errorf("nothing is selected: write receiver dead-letters %s 17 18, with numbers that list shows, or --webhook shop/a, or --all", c.name)
	case seqs && (webhook || all || c.request.Reason != ""), webhook && all:
		return errors.New("give numbers, --webhook or --all, and only one of these; --reason goes with the latter two")
	}
	return nil
}

// list prints page by page.
func (c *deadLetterCommand) list(ctx context.Context, client deadLetterStore) error {
	write, end := c.table()
	if c.output == "json" {
		write, end = c.array()
	}
	filter := journal.DeadLetterFilter{Webhook: c.request.Webhook, Reason: c.request.Reason}
	for after := uint64(0); ; {
		page, err := client.List(ctx, filter, after)
		if err == nil {
			err = write(page.DeadLetters)
		}
		if err != nil {
			return err
		}
		if after = page.Next; after == 0 {
			return end()
		}
	}
}

// table returns what prints pages of a table, which tells of errors, and its end.
func (c *deadLetterCommand) table() (write func([]journal.DeadLetterInfo) error, end func() error) {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
	lines := 0
	write = func(page []journal.DeadLetterInfo) error {
		if lines == 0 && len(page) > 0 {
			_, _ = fmt.Fprintln(out, "SEQ\tBURIED\tWEBHOOK\tTYPE\tREASON\tSTATUS\tATTEMPTS\tID")
		}
		lines += len(page)
		for _, letter := range page {
			status := "-"
			if letter.Status != 0 {
				status = strconv.Itoa(letter.Status)
			}
			_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", letter.Seq, age(c.now().Sub(letter.DeadLettered)), letter.Webhook,
				cmp.Or(letter.Type, "-"), letter.Reason, status, letter.Attempts, letter.ID)
		}
		return out.Flush()
	}
	end = func() (err error) {
		if lines == 0 {
			_, err = io.WriteString(c.stdout, "no dead letters\n")
		}
		return err
	}
	return write, end
}

// array returns what prints pages of a JSON array, and its end.
func (c *deadLetterCommand) array() (write func([]journal.DeadLetterInfo) error, end func() error) {
	before := "[\n  "
	write = func(page []journal.DeadLetterInfo) error {
		for _, letter := range page {
			data, err := json.Marshal(letter)
			if err != nil {
				return fmt.Errorf("encoding a dead letter: %w", err)
			}
			if _, err := fmt.Fprintf(c.stdout, "%s%s", before, data); err != nil {
				return err
			}
			before = ",\n  "
		}
		return nil
	}
	end = func() error {
		text := "\n]\n"
		if before == "[\n  " {
			text = "[]\n"
		}
		_, err := io.WriteString(c.stdout, text)
		return err
	}
	return write, end
}

// age is a time in its largest unit, as kubectl shows it.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

func (c *deadLetterCommand) show(ctx context.Context, client deadLetterStore) error {
	return client.Show(ctx, c.request.Seqs[0], c.stdout)
}

func (c *deadLetterCommand) redrive(ctx context.Context, client deadLetterStore) error {
	return c.work(ctx, "redrove", client.Redrive)
}

func (c *deadLetterCommand) purge(ctx context.Context, client deadLetterStore) error {
	return c.work(ctx, "purged", client.Purge)
}

// seqsAtOnce keeps requests short.
const seqsAtOnce = 100

// work does something with what is selected, as often as it takes, and prints how much was done, also after an error.
func (c *deadLetterCommand) work(ctx context.Context, verb string, do func(context.Context, admin.DeadLetterRequest) (journal.Progress, error)) (err error) {
	var total journal.Progress
	step := func(request admin.DeadLetterRequest) (journal.Progress, error) {
		done, err := do(ctx, request)
		total.Count += done.Count
		total.Missing, total.Damaged = append(total.Missing, done.Missing...), append(total.Damaged, done.Damaged...)
		return done, err
	}
	if len(c.request.Seqs) > 0 {
		for seqs := range slices.Chunk(c.request.Seqs, seqsAtOnce) {
			if _, err = step(admin.DeadLetterRequest{Seqs: seqs}); err != nil {
				break
			}
		}
	} else {
		var done journal.Progress
		for request := c.request; err == nil; request.After, request.UpTo = done.Next, done.UpTo {
			if done, err = step(request); done.Next == 0 {
				break
			}
		}
	}
	what := "dead letters"
	if total.Count == 1 {
		what = "dead letter"
	}
	_, printErr := fmt.Fprintf(c.stdout, "%s %d %s\n", verb, total.Count, what)
	errs := []error{err, printErr}
	if len(total.Missing) > 0 {
		errs = append(errs, admin.DeadLettersNotFoundError{Seqs: total.Missing})
	}
	if len(total.Damaged) > 0 {
		errs = append(errs, fmt.Errorf("these cannot be read and were left, purge removes them: %s", strings.Trim(fmt.Sprint(total.Damaged), "[]")))
	}
	return errors.Join(errs...)
}
