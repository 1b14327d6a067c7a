package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
)

const (
	// erasurePatience is how long to wait for the leader: for the requests under way, and to read what is stored.
	erasurePatience = 5 * time.Minute
	erasurePoll     = 200 * time.Millisecond
)

// notReached says what no order to erase can reach.
const notReached = `not reached:
  events that were delivered before, to a sink or a dead letter sink
  the buffers of receivers that do not share this one: run the command for each
  copies of the volume, and the folder damaged of the buffer
`

// checkErasure checks the flags of purge --recipient and --message, and reads the address from standard input if it is to.
func (c *deadLetterCommand) checkErasure() error {
	if len(c.request.Seqs) > 0 || c.request.All || c.request.Reason != "" || c.filter.selects() || c.output == outputJSON {
		return errors.New("--recipient and --message can be combined with --webhook and --dry-run only")
	}
	if c.erasure.Recipient == "-" {
		line, err := bufio.NewReader(c.stdin).ReadString('\n')
		if line == "" && err != nil {
			return errors.New("--recipient=-: reading the address from standard input: there is none")
		}
		c.erasure.Recipient = strings.TrimSpace(line)
	}
	c.erasure.Webhook, c.erasure.DryRun = c.request.Webhook, c.dryRun
	return c.erasure.Check()
}

// erase leaves an order for the leader, waits until it is carried out, and prints what it did.
func (c *deadLetterCommand) erase(ctx context.Context, store admin.Erasures) error {
	id, err := store.OrderErasure(ctx, c.erasure)
	if err != nil {
		return err
	}
	result, err := c.awaitErasure(ctx, store, id)
	if err != nil {
		return err
	}
	verb := "erased"
	if c.erasure.DryRun {
		verb = "would erase"
	}
	if _, err := fmt.Fprintf(c.stdout, "%s %s, and %s in %s\n%s", verb, counted(result.DeadLetters, "dead letter", "dead letters"),
		counted(result.Events, "waiting event", "waiting events"), counted(result.Batches, "stored message", "stored messages"), notReached); err != nil {
		return err
	}
	var errs []error
	if result.Failed {
		errs = append(errs, errors.New("the leader has given up after several attempts: its log says why"))
	}
	if result.Kept > 0 {
		errs = append(errs, fmt.Errorf("%s are still there, because the buffer has no space to rewrite their batches: repeat the command when there is space",
			counted(result.Kept, "event", "events")))
	}
	if result.Unreadable > 0 {
		errs = append(errs, fmt.Errorf("%s cannot be read, and may have such events", counted(result.Unreadable, "stored message", "stored messages")))
	}
	return errors.Join(errs...)
}

func (c *deadLetterCommand) awaitErasure(ctx context.Context, store admin.Erasures, id string) (*erasure.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	ticker := time.NewTicker(erasurePoll)
	defer ticker.Stop()
	for failed := error(nil); ; {
		result, err := store.ErasureResult(ctx, id)
		if result != nil || errors.Is(err, erasure.ErrUnknown) {
			return result, err
		}
		if err != nil {
			failed = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(errors.New("no receiver has carried out the order yet: the next one that delivers from this buffer does; repeat the command to see what is left"), failed)
		}
	}
}
