// The buffer benchmark measures the durable buffer as ratios, each in one run against its ceiling or its peer: what it
// takes to have a batch on disk against a bare write and fsync of the same bytes, how many events a second are kept
// against what JetStream itself stores, how fast the backlog is delivered against Direct mode, and what waiting costs in
// memory and at a restart. It prints a table on standard output and everything else on standard error. It fails only when
// events are lost.
//
//	go run ./test/bench/buffer [-waiting 1] [-only ack,ingest]
//
// It expects bin/receiver, runs from the project's root, and on Linux, whose /proc it reads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	dir     string
	backlogGB int // GB in the backlog
	samples int
	batches int
	only    string
}

// section measures something and returns rows of the table.
type section struct {
	name    string
	measure func(ctx context.Context, o options) ([]row, error)
}

type row struct{ measure, value string }

var sections = []section{{"ack", ack}, {"ingest", ingest}, {"drain", drain}, {"waiting", backlog}}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "folder for the stores, on the disk to be measured; default: a temporary one")
	flag.IntVar(&o.backlogGB, "waiting", 1, "GB to be waiting")
	flag.IntVar(&o.samples, "samples", 1500, "batches whose latency is taken")
	flag.IntVar(&o.batches, "batches", 400, "batches of 1000 events to be kept, and to be delivered")
	flag.StringVar(&o.only, "only", "", "comma-separated sections: ack, ingest, drain, waiting; default: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, o options) (err error) {
	folder, err := os.MkdirTemp(o.dir, "mandrill-buffer-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	o.dir = folder
	fmt.Printf("%d CPUs, %s %s/%s\n\n| measure | value |\n|---|---|\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
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
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", section.name, time.Since(begin).Round(time.Millisecond))
	}
	return nil
}
