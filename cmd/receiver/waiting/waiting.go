// Package waiting selects batches in the backlog, and works on those that are selected.
package waiting

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
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// errBacklogReason is the answer to --reason.
var errBacklogReason = errors.New("--reason is for receiver dead-letters: what waits has not been given up, and has no reason")

// Store has a backlog.
type Store interface {
	Backlog(ctx context.Context, webhook string, after *journal.Position) (admin.BacklogPage, error)
	ShowWaiting(ctx context.Context, position journal.Position, w io.Writer) error
}

// perRequest keeps requests short.
const perRequest = 100

// Selection selects batches. Its zero value, with Now, selects all.
type Selection struct {
	Webhook     string
	Positions   []journal.Position
	Since       time.Duration
	Now         func() time.Time
	kind        string // of an event
	all, dryRun bool
}

// AddWork adds the flags of commands that change something.
func (s *Selection) AddWork(flags *flag.FlagSet) {
	flags.BoolVar(&s.all, "all", false, "all batches that wait now")
	flags.BoolVar(&s.dryRun, "dry-run", false, "count the batches and change nothing")
}

// AddFlags adds the flags that select batches.
func (s *Selection) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&s.Webhook, "webhook", "", "only batches of this webhook, such as shop/a")
	flags.DurationVar(&s.Since, "since", 0, "only batches that were received within this time, such as 1h")
	flags.StringVar(&s.kind, "type", "", "list only: batches with an event of this type, such as hard_bounce; reads each batch")
	flags.Func("reason", "not of batches that wait", func(string) error { return errBacklogReason })
}

// Check checks what drop and set-aside are to work on.
func (s *Selection) Check(verb string) error {
	selected := s.all || s.Webhook != ""
	switch {
	case s.kind != "":
		return fmt.Errorf("--type is for list: a batch may have events of several types, and %s takes all of it", verb)
	case len(s.Positions) > 0 && (selected || s.Since > 0):
		return errors.New("give positions, or --webhook or --all with or without --since")
	case s.all && s.Webhook != "":
		return errors.New("give one of --webhook and --all")
	case len(s.Positions) == 0 && s.Since > 0 && !selected:
		return errors.New("--since needs --webhook or --all")
	case len(s.Positions) == 0 && !selected:
		return fmt.Errorf("give positions that list shows, such as: receiver backlog %s batch:17, or --webhook shop/a, or --all", verb)
	}
	return nil
}

// Each calls a function with the selected batches, page by page, until it returns false.
func (s *Selection) Each(ctx context.Context, store Store, call func([]journal.WaitingBatch) (bool, error)) error {
	for after := (*journal.Position)(nil); ; {
		page, err := store.Backlog(ctx, s.Webhook, after)
		if err != nil {
			return err
		}
		batches := slices.DeleteFunc(page.Batches, func(b journal.WaitingBatch) bool { return s.Since > 0 && s.Now().Sub(b.Received) > s.Since })
		if batches, err = s.withType(ctx, store, batches); err != nil {
			return err
		}
		more, err := call(batches)
		if after = page.Next; err != nil || !more || after == nil {
			return err
		}
	}
}

// withType returns the batches that have an event of the type. The buffer has no index of types.
func (s *Selection) withType(ctx context.Context, store Store, batches []journal.WaitingBatch) (found []journal.WaitingBatch, err error) {
	if s.kind == "" {
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
		if hasType(shown.Bytes(), s.kind) {
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
func (s *Selection) selection(ctx context.Context, store Store) (selected journal.Removed, positions []journal.Position, err error) {
	wanted := map[journal.Position]bool{}
	for _, position := range s.Positions {
		wanted[position] = true
	}
	err = s.Each(ctx, store, func(batches []journal.WaitingBatch) (bool, error) {
		for _, batch := range batches {
			if len(s.Positions) == 0 || wanted[batch.Position] {
				selected.Batches, selected.Events = selected.Batches+1, selected.Events+batch.Events
				positions = append(positions, batch.Position)
			}
			delete(wanted, batch.Position)
		}
		return len(s.Positions) == 0 || len(wanted) > 0, nil
	})
	for _, position := range s.Positions {
		if wanted[position] {
			selected.Missing = append(selected.Missing, position)
		}
	}
	return selected, positions, err
}

// Work takes the selected batches out of the backlog, in as many requests as it takes. It prints how many there were, even after an
// error.
func (s *Selection) Work(ctx context.Context, stdout io.Writer, verb string, store Store, do func(context.Context, []journal.Position) (journal.Removed, error)) (err error) {
	var total journal.Removed
	positions := s.Positions
	if s.dryRun || len(positions) == 0 {
		if total, positions, err = s.selection(ctx, store); err != nil {
			return err
		}
	}
	if s.dryRun {
		return report(stdout, "would have "+verb, total, nil)
	}
	total = journal.Removed{}
	for chunk := range slices.Chunk(positions, perRequest) {
		var done journal.Removed
		done, err = do(ctx, chunk)
		total = journal.Removed{Batches: total.Batches + done.Batches, Events: total.Events + done.Events, Missing: append(total.Missing, done.Missing...)}
		if err != nil {
			break
		}
	}
	if len(s.Positions) == 0 {
		total.Missing = nil // they were delivered meanwhile
	}
	return report(stdout, verb, total, err)
}

func report(stdout io.Writer, verb string, total journal.Removed, err error) error {
	_, printErr := io.WriteString(stdout, fmt.Sprintf("%s %s with %s\n", verb, counted(total.Batches, "batch", "batches"), counted(total.Events, "event", "events")))
	errs := []error{err, printErr}
	if len(total.Missing) > 0 {
		errs = append(errs, admin.NotWaitingError{Positions: total.Missing})
	}
	return errors.Join(errs...)
}

func counted(count int, one, many string) string {
	if count == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", count, many)
}
