package main

import (
	"context"
	"errors"
	"flag"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/nearest"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputShort = "o" // of --output, as kubectl has it
)

func addOutput(flags *flag.FlagSet, value *string) {
	flags.StringVar(value, "output", outputTable, "table or json")
	flags.StringVar(value, outputShort, outputTable, "short for --output")
}

func checkOutput(value string) error {
	if value != "" && value != outputTable && value != outputJSON {
		return errors.New("--output must be table or json")
	}
	return nil
}

// didYouMean names the subcommand that was meant.
func didYouMean[T any](args []string, commands map[string]T) string {
	if len(args) == 0 {
		return ""
	}
	return nearest.DidYouMean(args[0], slices.Sorted(maps.Keys(commands)))
}

// deadLetterFilter selects dead letters by what the buffer does not index. The zero value selects all.
type deadLetterFilter struct {
	kind  string
	since time.Duration
	limit int
}

func (f *deadLetterFilter) add(flags *flag.FlagSet) {
	flags.StringVar(&f.kind, "type", "", "only dead letters of this type, such as com.mandrill.message.hard_bounce, or hard_bounce")
	flags.DurationVar(&f.since, "since", 0, "only dead letters of this time, such as 24h")
}

func (f *deadLetterFilter) check() error {
	if f.since < 0 || f.limit < 0 {
		return errors.New("--since and --limit must not be negative")
	}
	return nil
}

func (f *deadLetterFilter) selects() bool { return f.kind != "" || f.since > 0 }

// keep returns the dead letters of a page that are selected.
func (f *deadLetterFilter) keep(page []journal.DeadLetterInfo, now time.Time) []journal.DeadLetterInfo {
	return slices.DeleteFunc(page, func(letter journal.DeadLetterInfo) bool {
		return f.kind != "" && letter.Type != f.kind && !strings.HasSuffix(letter.Type, "."+f.kind) ||
			f.since > 0 && now.Sub(letter.DeadLettered) > f.since
	})
}

// eachPage calls a function with the selected dead letters, page by page, until it returns false.
func (c *deadLetterCommand) eachPage(ctx context.Context, store deadLetterStore, call func([]journal.DeadLetterInfo) (bool, error)) error {
	filter := journal.DeadLetterFilter{Webhook: c.request.Webhook, Reason: c.request.Reason}
	for after := uint64(0); ; {
		page, err := store.List(ctx, filter, after)
		if err != nil {
			return err
		}
		more, err := call(c.filter.keep(page.DeadLetters, c.now()))
		if after = page.Next; err != nil || !more || after == 0 {
			return err
		}
	}
}

// deadLetterWork redrives or purges.
type deadLetterWork func(context.Context, admin.DeadLetterRequest) (journal.Progress, error)

// eachSelected works on what the filter selects at the beginning: an event that is redriven and fails again comes back with another number,
// and must not be redriven without end.
func (c *deadLetterCommand) eachSelected(ctx context.Context, store deadLetterStore, step func(admin.DeadLetterRequest) (journal.Progress, error)) error {
	var seqs []uint64
	err := c.eachPage(ctx, store, func(page []journal.DeadLetterInfo) (bool, error) {
		for _, letter := range page {
			seqs = append(seqs, letter.Seq)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return eachChunk(seqs, step)
}

// eachChunk works on dead letters by their numbers.
func eachChunk(seqs []uint64, step func(admin.DeadLetterRequest) (journal.Progress, error)) error {
	for chunk := range slices.Chunk(seqs, maxSeqsPerRequest) {
		if _, err := step(admin.DeadLetterRequest{Seqs: chunk}); err != nil {
			return err
		}
	}
	return nil
}

// count counts what would be worked on.
func (c *deadLetterCommand) count(ctx context.Context, store deadLetterStore) (total journal.Progress, err error) {
	wanted := map[uint64]bool{}
	for _, seq := range c.request.Seqs {
		wanted[seq] = true
	}
	err = c.eachPage(ctx, store, func(page []journal.DeadLetterInfo) (bool, error) {
		for _, letter := range page {
			if len(c.request.Seqs) == 0 || wanted[letter.Seq] {
				total.Count++
			}
		}
		return true, nil
	})
	return total, err
}
