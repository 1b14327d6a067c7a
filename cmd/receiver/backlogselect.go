package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// errBacklogReason is the answer to --reason.
var errBacklogReason = errors.New("--reason is for receiver dead-letters: what waits has not been given up, and has no reason")

// addSelection adds the flags that select batches.
func (c *backlogCommand) addSelection(flags *flag.FlagSet) {
	flags.StringVar(&c.webhook, "webhook", "", "only batches of this webhook, such as shop/a")
	flags.DurationVar(&c.since, "since", 0, "only batches that were received within this time, such as 1h")
	flags.StringVar(&c.kind, "type", "", "list only: batches with an event of this type, such as hard_bounce; reads each batch")
	flags.Func("reason", "not of batches that wait", func(string) error { return errBacklogReason })
}

// checkSelection checks what drop and set-aside are to work on.
func (c *backlogCommand) checkSelection() error {
	selected := c.all || c.webhook != ""
	switch {
	case c.kind != "":
		return fmt.Errorf("--type is for list: a batch may have events of several types, and %s takes all of it", c.name)
	case len(c.positions) > 0 && (selected || c.since > 0):
		return errors.New("give positions, or --webhook or --all with or without --since")
	case c.all && c.webhook != "":
		return errors.New("give one of --webhook and --all")
	case len(c.positions) == 0 && c.since > 0 && !selected:
		return errors.New("--since needs --webhook or --all")
	case len(c.positions) == 0 && !selected:
		return fmt.Errorf("give positions that list shows, such as: receiver backlog %s batch:17, or --webhook shop/a, or --all", c.name)
	}
	return nil
}

// eachSelected calls a function with the selected batches, page by page, until it returns false.
func (c *backlogCommand) eachSelected(ctx context.Context, store backlogStore, call func([]journal.WaitingBatch) (bool, error)) error {
	for after := (*journal.Position)(nil); ; {
		page, err := store.Backlog(ctx, c.webhook, after)
		if err != nil {
			return err
		}
		batches := slices.DeleteFunc(page.Batches, func(b journal.WaitingBatch) bool { return c.since > 0 && c.now().Sub(b.Received) > c.since })
		if batches, err = c.withType(ctx, store, batches); err != nil {
			return err
		}
		more, err := call(batches)
		if after = page.Next; err != nil || !more || after == nil {
			return err
		}
	}
}

// withType returns the batches that have an event of the type. The buffer has no index of types.
func (c *backlogCommand) withType(ctx context.Context, store backlogStore, batches []journal.WaitingBatch) (found []journal.WaitingBatch, err error) {
	if c.kind == "" {
		return batches, nil
	}
	for _, batch := range batches {
		var shown bytes.Buffer
		err := store.ShowWaiting(ctx, batch.Position, &shown)
		if missing := new(admin.NotWaitingError); errors.As(err, missing) || err != nil && strings.Contains(err.Error(), "nothing waits at") {
			continue // it was delivered meanwhile
		}
		if err != nil {
			return nil, err
		}
		if hasType(shown.Bytes(), c.kind) {
			found = append(found, batch)
		}
	}
	return found, nil
}

// hasType reports whether a batch, as it is shown, has an event of a type. A batch that cannot be read has none.
func hasType(shown []byte, kind string) bool {
	var batch struct {
		Data   json.RawMessage `json:"data"`
		Base64 string          `json:"data_base64"`
	}
	if json.Unmarshal(shown, &batch) != nil {
		return false
	}
	data := []byte(batch.Data)
	if batch.Base64 != "" {
		data, _ = base64.StdEncoding.DecodeString(batch.Base64) // no event is in what cannot be decoded
	}
	events, _ := mandrill.SplitBatch(data)
	return slices.ContainsFunc(events, func(raw []byte) bool {
		name, _ := mapping.TypeOf(mandrill.ParseEvent(raw))
		return name == kind || strings.HasSuffix(name, "."+kind)
	})
}

// selection returns the positions to work on, as they are at the beginning, and how many batches and events these are.
func (c *backlogCommand) selection(ctx context.Context, store backlogStore) (selected journal.Removed, positions []journal.Position, err error) {
	wanted := map[journal.Position]bool{}
	for _, position := range c.positions {
		wanted[position] = true
	}
	err = c.eachSelected(ctx, store, func(batches []journal.WaitingBatch) (bool, error) {
		for _, batch := range batches {
			if len(c.positions) == 0 || wanted[batch.Position] {
				selected.Batches, selected.Events = selected.Batches+1, selected.Events+batch.Events
				positions = append(positions, batch.Position)
			}
			delete(wanted, batch.Position)
		}
		return len(c.positions) == 0 || len(wanted) > 0, nil
	})
	for _, position := range c.positions {
		if wanted[position] {
			selected.Missing = append(selected.Missing, position)
		}
	}
	return selected, positions, err
}

// work takes the selected batches out of the backlog, in as many requests as it takes. It prints how many there were, even after an
// error.
func (c *backlogCommand) work(ctx context.Context, verb string, store backlogStore, do func(context.Context, []journal.Position) (journal.Removed, error)) (err error) {
	var total journal.Removed
	positions := c.positions
	if c.dryRun || len(positions) == 0 {
		if total, positions, err = c.selection(ctx, store); err != nil {
			return err
		}
	}
	if c.dryRun {
		return c.report("would have "+verb, total, nil)
	}
	total = journal.Removed{}
	for chunk := range slices.Chunk(positions, maxSeqsPerRequest) {
		var done journal.Removed
		done, err = do(ctx, chunk)
		total = journal.Removed{Batches: total.Batches + done.Batches, Events: total.Events + done.Events, Missing: append(total.Missing, done.Missing...)}
		if err != nil {
			break
		}
	}
	if len(c.positions) == 0 {
		total.Missing = nil // they were delivered meanwhile
	}
	return c.report(verb, total, err)
}

func (c *backlogCommand) report(verb string, total journal.Removed, err error) error {
	_, printErr := io.WriteString(c.stdout, fmt.Sprintf("%s %s with %s\n", verb, counted(total.Batches, "batch", "batches"), counted(total.Events, "event", "events")))
	errs := []error{err, printErr}
	if len(total.Missing) > 0 {
		errs = append(errs, admin.NotWaitingError{Positions: total.Missing})
	}
	return errors.Join(errs...)
}
