// The delivery benchmark measures how fast events are delivered in mode Direct, and what processor time an event costs. It compares the
// receiver, in one run, with programs that do only a part of its work, so that the ratios depend little on the machine:
//
//   - posters that send finished requests to the same sink: by net/http, by fasthttp, and by net/http in batches of 100 events;
//   - a plain receiver, written with the form parser of net/http, maps and the client of sdk-go.
//
// The load generator, the sink, the receiver and the others are processes of their own on loopback. Each round measures all subjects of a
// case one after the other with other events, because the receiver does not deliver an event again. The table has medians of the rounds.
// It prints the table on standard output and everything else on standard error. It fails when an event is lost or a batch is not
// accepted; with -check also when a ratio falls.
//
//	go run ./test/bench/delivery [-rounds 5] [-only 1000x8x1] [-check test/bench/delivery/baseline.json]
//
// It needs bin/receiver and Linux, whose /proc it reads. Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	role     string // of a process that the benchmark starts; empty: the benchmark itself
	rounds   int
	scale    int // percent of the events of a case
	only     string
	subjects string
	receiver string // the program
	check    string // file with the baseline; empty: no check
	save     string // file for the baseline; empty: none
	profile  string // directory for profiles of the receiver; empty: none
}

func main() { harness.Main(parseFlags, run) }

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("delivery", flag.ContinueOnError)
	flags.StringVar(&o.role, "role", "", "used by the benchmark for the processes that it starts")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	flags.IntVar(&o.scale, "scale", 100, "percent of the events of a case")
	flags.StringVar(&o.only, "only", "", "run only the cases and memory with these names, comma-separated: EVENTSxBATCHESxWEBHOOKS, such as 1000x8x1, or memory")
	flags.StringVar(&o.subjects, "subjects", "", "measure only these subjects, comma-separated")
	flags.StringVar(&o.receiver, "receiver", "bin/receiver", "the receiver's program")
	flags.StringVar(&o.check, "check", "", "fail when a ratio is more than 20 % worse than in this file")
	flags.StringVar(&o.save, "save", "", "write the ratios to this file")
	flags.StringVar(&o.profile, "profile", "", "write processor and allocation profiles of the receiver to this directory")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.scale < 1 {
		return o, errors.New("all numbers must be positive")
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	if o.role != "" {
		return serveRole(ctx, o.role)
	}
	var baseline ratios
	if o.check != "" { // before the measurement, which takes long
		var err error
		if baseline, err = readRatios(o.check); err != nil {
			return err
		}
	}
	found, err := measureAll(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n\n%s", harness.Machine(), found.tables())
	if o.save != "" {
		if err := writeRatios(o.save, found.ratios()); err != nil {
			return err
		}
	}
	if o.check == "" {
		return nil
	}
	if err := compare(baseline.of(o.only), found.ratios()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "bench: no ratio is more than 20 % worse than the baseline")
	return nil
}
