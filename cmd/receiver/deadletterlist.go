package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// list prints the dead letters, one page after the other.
func (c *deadLetterCommand) list(ctx context.Context, store deadLetterStore) error {
	write, end := c.table()
	if c.output == outputJSON {
		write, end = jsonArray[journal.DeadLetterInfo](c.stdout)
	}
	listed := 0
	err := c.eachPage(ctx, store, func(page []journal.DeadLetterInfo) (bool, error) {
		if c.filter.limit > 0 {
			page = page[:min(len(page), c.filter.limit-listed)]
		}
		listed += len(page)
		return c.filter.limit == 0 || listed < c.filter.limit, write(page)
	})
	if err != nil {
		return err
	}
	return end()
}

// table returns a function that prints a page as a table, and one that ends the output. A page is printed before the next
// one is read, so its columns have widths of their own.
func (c *deadLetterCommand) table() (write func([]journal.DeadLetterInfo) error, end func() error) {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
	lines := 0
	write = func(page []journal.DeadLetterInfo) error {
		if lines == 0 && len(page) > 0 {
			_, _ = fmt.Fprintln(out, "SEQ\tWEBHOOK\tTYPE\tREASON\tSTATUS\tATTEMPTS\tRECEIVED\tDEAD-LETTERED\tID")
		}
		lines += len(page)
		for _, letter := range page {
			kind, status := cmp.Or(letter.Type, "-"), "-"
			if letter.Events > 0 {
				kind = fmt.Sprintf("batch of %d", letter.Events)
			}
			if letter.Status != 0 {
				status = strconv.Itoa(letter.Status)
			}
			_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", letter.Seq, letter.Webhook, kind, letter.Reason,
				status, letter.Attempts, age(c.now().Sub(letter.Received)), age(c.now().Sub(letter.DeadLettered)), letter.ID)
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

// age formats a duration in its largest unit, as kubectl does.
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
