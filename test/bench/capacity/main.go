// The capacity program computes how large a buffer must be, as docs/capacity.md has it, and measures what its figures rest on: the bytes
// that a stored event takes. It prints tables on standard output.
//
//	go run ./test/bench/capacity
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct{ batches int }

func main() { harness.Main(parseFlags, run) }

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("capacity", flag.ContinueOnError)
	flags.IntVar(&o.batches, "batches", 200, "batches of each size to store; a tenth of those with 1000 events")
	return o, flags.Parse(args)
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "mandrill-capacity-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Print("| event | events of a batch | bytes of an event | on disk |\n|---|---|---|---|\n")
	for _, measured := range storedEvents {
		found, err := store(ctx, dir, measured.shape, measured.batch, max(3, o.batches/max(1, measured.batch/100)))
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %.0f | %.0f |\n", measured.shape, measured.batch, found.raw, found.stored)
	}
	table, err := volumeTable()
	fmt.Printf("\n%s", table)
	return err
}
