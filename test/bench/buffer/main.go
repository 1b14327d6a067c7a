// The buffer benchmark measures the durable buffer. Each measurement is compared in the same run: the latency of storing a batch with a
// bare write and fsync of the same bytes, the rate of storing with that of JetStream alone, and the rate of delivery with Direct mode.
// It also measures the processor time of an event in each mode, and the memory and restart times of a large backlog. It prints a table on
// standard output and everything else on standard error. It fails only when events are lost.
//
//	go run ./test/bench/buffer [-waiting 1] [-only ack,ingest]
//
// It needs bin/receiver and Linux, whose /proc it reads. Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	dir       string
	backlogGB int // of messages in the backlog
	samples   int
	batches   int
	only      string
}

// section is a part of the benchmark. It returns rows of the table.
type section struct {
	name    string
	measure func(ctx context.Context, o options) ([]row, error)
}

type row struct{ measure, value string }

var sections = []section{{"ack", ack}, {"ingest", ingest}, {"drain", drain}, {"modes", modes}, {"waiting", backlog}}

func main() { harness.Main(parseFlags, run) }

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("buffer", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory for the buffers, on the disk to be measured; default: a temporary one")
	flags.IntVar(&o.backlogGB, "waiting", 1, "size of the backlog in GB")
	flags.IntVar(&o.samples, "samples", 1500, "batches whose latency is measured")
	flags.IntVar(&o.batches, "batches", 400, "batches of 1000 events to store; a quarter of them is delivered")
	flags.StringVar(&o.only, "only", "", "comma-separated sections: ack, ingest, drain, modes, waiting; default: all")
	err := flags.Parse(args)
	return o, err
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "mandrill-buffer-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.dir = dir
	fmt.Printf("%s\n\n| measure | value |\n|---|---|\n", harness.Machine())
	for _, section := range sections {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+section.name+",") {
			continue
		}
		begin := time.Now()
		rows, err := section.measure(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		for _, r := range rows {
			fmt.Printf("| %s | %s |\n", r.measure, r.value)
		}
		harness.Logf("%s took %s", section.name, time.Since(begin).Round(time.Millisecond))
	}
	return nil
}
