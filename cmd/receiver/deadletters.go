package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cmd/usage"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
)

const deadLettersUsage = `receiver dead-letters lists, shows, redrives and purges the dead letters in the buffer: events that could not be delivered.

  receiver dead-letters list    [--webhook NAME] [FILTER] [--limit N] [--output table|json]
  receiver dead-letters show    SEQ
  receiver dead-letters redrive SEQ... | --webhook NAME [FILTER] | --all [FILTER]  [--dry-run] [--progress] [--output table|json]
  receiver dead-letters purge   SEQ... | --webhook NAME [FILTER] | --all [FILTER]  [--dry-run] [--progress] [--output table|json]
  receiver dead-letters purge   --recipient ADDRESS | --message ID  [--webhook NAME] [--dry-run]

FILTER is --reason REASON, --type TYPE such as hard_bounce, and --since DURATION such as 24h, in any combination.

redrive delivers dead letters again, purge deletes them. SEQ is a number that list shows. With --recipient or --message, purge
erases the events of a recipient or of a message: dead letters, and events that wait for delivery. With --dry-run nothing is changed.

The command talks to the receiver in this container or on this machine: give its --buffer-dir or its --admin-socket. If the
buffer is in NATS, it talks to NATS instead: give the --buffer of the receivers and the flags for the connection.
`

// deadLetterCommand is one of the subcommands.
type deadLetterCommand struct {
	name      string
	do        func(*deadLetterCommand, context.Context, deadLetterStore) error
	takesSeqs bool
	now       func() time.Time
	stdout    io.Writer
	place     bufferPlace
	output    string
	filter    deadLetterFilter
	dryRun    bool
	progress  bool
	request   admin.DeadLetterRequest
	stdin     io.Reader
	erasure   erasure.Request
	patience  time.Duration // with an order to erase that nobody carries out
}

// deadLetters runs receiver dead-letters.
func deadLetters(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(stdout, deadLettersUsage)
		return err
	}
	command, err := newDeadLetterCommand(args, stdout)
	if err != nil {
		return err
	}
	return command.place.use(ctx,
		func(client *socketClient) error { return command.do(command, ctx, client) },
		func(opened *journal.Journal) error { return command.do(command, ctx, journalStore{opened}) })
}

func newDeadLetterCommand(args []string, stdout io.Writer) (*deadLetterCommand, error) {
	commands := map[string]*deadLetterCommand{
		"list":    {do: (*deadLetterCommand).list},
		"show":    {do: (*deadLetterCommand).show, takesSeqs: true},
		"redrive": {do: (*deadLetterCommand).redrive, takesSeqs: true},
		"purge":   {do: (*deadLetterCommand).purge, takesSeqs: true},
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return nil, errors.New("give one of list, show, redrive and purge after dead-letters; see receiver dead-letters -h" + didYouMean(args, commands))
	}
	command := commands[args[0]]
	command.name, command.now, command.stdout = args[0], time.Now, stdout
	command.stdin, command.patience = os.Stdin, erasurePatience
	return command, command.parse(args[1:])
}

// parse parses flags and numbers, in any order.
func (c *deadLetterCommand) parse(args []string) error {
	flags := flag.NewFlagSet("receiver dead-letters "+c.name, flag.ContinueOnError)
	usage.Help(flags, "See receiver dead-letters -h.", nil)
	c.place.addFlags(flags)
	if c.name != "show" {
		flags.StringVar(&c.request.Webhook, "webhook", "", "only dead letters of this webhook, such as shop/a")
		flags.StringVar(&c.request.Reason, "reason", "", "only dead letters with this reason: "+strings.Join(journal.Reasons, ", "))
		c.filter.add(flags)
		addOutput(flags, &c.output)
	}
	switch c.name {
	case "list":
		flags.IntVar(&c.filter.limit, "limit", 0, "list at most so many; 0: all")
	case "redrive", "purge":
		flags.BoolVar(&c.request.All, "all", false, "all dead letters that exist now")
		flags.BoolVar(&c.dryRun, "dry-run", false, "count the events and change nothing")
		flags.BoolVar(&c.progress, "progress", false, "print how many were done so far, about once a second")
	}
	if c.name == "purge" {
		flags.StringVar(&c.erasure.Recipient, "recipient", "", "erase the events of this address, also those that wait; -: read the address from standard input")
		flags.StringVar(&c.erasure.Message, "message", "", "erase the events of this message, also those that wait: Mandrill's _id")
	}
	for { // the flag package stops at the first number
		if err := usage.Parse(flags, args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		seq, err := strconv.ParseUint(flags.Arg(0), 10, 64)
		if err != nil || !c.takesSeqs {
			return fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		c.request.Seqs = append(c.request.Seqs, seq)
		args = flags.Args()[1:]
	}
	return c.check()
}

func (c *deadLetterCommand) check() error {
	if err := errors.Join(c.place.check(), checkOutput(c.output), c.filter.check()); err != nil {
		return err
	}
	switch c.name {
	case "list":
		return admin.CheckReason(c.request.Reason)
	case "show":
		if len(c.request.Seqs) != 1 {
			return errors.New("give the number of one dead letter, as list shows it")
		}
		return nil
	}
	if c.erasure.Recipient != "" || c.erasure.Message != "" {
		return c.checkErasure()
	}
	err := c.request.Check()
	if err == nil && len(c.request.Seqs) > 0 && c.filter.selects() {
		err = errors.New("numbers cannot be combined with --type and --since")
	}
	if errors.Is(err, admin.ErrNothingSelected) {
		return fmt.Errorf("%w, such as: receiver dead-letters %s 17 18, with numbers that list shows, or --webhook shop/a, or --all", err, c.name)
	}
	return err
}

func (c *deadLetterCommand) show(ctx context.Context, store deadLetterStore) error {
	return store.Show(ctx, c.request.Seqs[0], c.stdout)
}

func (c *deadLetterCommand) redrive(ctx context.Context, store deadLetterStore) error {
	return c.work(ctx, store, "redrove", store.Redrive)
}

func (c *deadLetterCommand) purge(ctx context.Context, store deadLetterStore) error {
	if c.erasure.Recipient != "" || c.erasure.Message != "" {
		return c.erase(ctx, store)
	}
	return c.work(ctx, store, "purged", store.Purge)
}

// maxSeqsPerRequest keeps requests short.
const maxSeqsPerRequest = 100

// work redrives or purges the selected dead letters, in as many requests as it takes. It prints how many there were, even
// after an error.
func (c *deadLetterCommand) work(ctx context.Context, store deadLetterStore, verb string, do deadLetterWork) (err error) {
	var total journal.Progress
	said := c.now()
	step := func(request admin.DeadLetterRequest) (journal.Progress, error) {
		done, err := do(ctx, request)
		total.Count += done.Count
		total.Missing, total.Damaged = append(total.Missing, done.Missing...), append(total.Damaged, done.Damaged...)
		if now := c.now(); err == nil && c.progress && now.Sub(said) >= progressPause {
			said, err = now, c.say(verb, total.Count, true)
		}
		return done, err
	}
	switch {
	case c.dryRun:
		verb = "would have " + map[string]string{"redrove": "redriven", "purged": "purged"}[verb]
		total, err = c.count(ctx, store)
	case len(c.request.Seqs) > 0:
		err = eachChunk(c.request.Seqs, step)
	case c.filter.selects():
		err = c.eachSelected(ctx, store, step)
		total.Missing = nil // somebody else was faster, and did the same
	default:
		var done journal.Progress
		for request := c.request; err == nil; request.After, request.UpTo = done.Next, done.UpTo {
			if done, err = step(request); done.Next == 0 {
				break
			}
		}
	}
	return c.report(verb, total, err)
}

// progressPause is between two lines with the progress.
const progressPause = time.Second

// say prints how many were done, in all or so far. A reader who has gone ends the work.
func (c *deadLetterCommand) say(verb string, count int, soFar bool) error {
	text := fmt.Sprintf("%s %s\n", verb, counted(count, "dead letter", "dead letters"))
	switch {
	case c.output == outputJSON && soFar:
		text = fmt.Sprintf("{\"deadLetters\":%d,\"dryRun\":false,\"more\":true}\n", count)
	case c.output == outputJSON:
		text = fmt.Sprintf("{\"deadLetters\":%d,\"dryRun\":%v}\n", count, c.dryRun)
	case soFar:
		text = strings.TrimSuffix(text, "\n") + " so far\n"
	}
	_, err := io.WriteString(c.stdout, text)
	return err
}

// report prints what was done, and returns the errors.
func (c *deadLetterCommand) report(verb string, total journal.Progress, err error) error {
	printErr := c.say(verb, total.Count, false)
	errs := []error{err, printErr}
	if len(total.Missing) > 0 {
		errs = append(errs, admin.DeadLettersNotFoundError{Seqs: total.Missing})
	}
	if len(total.Damaged) > 0 {
		errs = append(errs, fmt.Errorf("dead letters that cannot be read were skipped, purge removes them: %s", strings.Trim(fmt.Sprint(total.Damaged), "[]")))
	}
	return errors.Join(errs...)
}
