// The partitions benchmark measures how delivery from a shared buffer grows with the number of receivers. One NATS server, a sink with a
// ledger, a load generator and receivers run on this machine; each receiver has a processor limit of its own by a cgroup, so that more of
// them have more processor time, as on more nodes:
//
//   - drain: a backlog of many webhooks is delivered;
//   - steady: batches arrive as fast as they are delivered;
//   - accept: batches are stored as fast as one stream leader of NATS stores them, which bounds receivers of any number.
//
// Rounds measure one, two and more receivers in turns. It prints tables on standard output and everything else on standard error. It
// fails when an event is lost, arrives twice or out of order.
//
//	go run ./test/bench/partitions [-members 3] [-cpu 0.25] [-only drain]
//
// It needs bin/receiver, Linux and root, for the cgroups. Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	natsPort  int // of the server that the benchmark starts as a process; 0: the benchmark itself
	natsStore string
	natsSync  bool
	receiver  string
	rounds    int
	members   int
	cpu       float64
	webhooks  int
	backlog   int // events of a webhook
	steady    time.Duration
	only      string
	flags     string // of receivers
}

func main() { harness.Main(parseFlags, run) }

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("partitions", flag.ContinueOnError)
	flags.IntVar(&o.natsPort, "nats-port", 0, "used by the benchmark for the NATS server that it starts")
	flags.StringVar(&o.natsStore, "nats-store", "", "used by the benchmark for the NATS server that it starts")
	flags.BoolVar(&o.natsSync, "nats-sync", false, "used by the benchmark for the NATS server that it starts")
	flags.StringVar(&o.receiver, "receiver", "bin/receiver", "the receiver's program")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each number of receivers is measured")
	flags.IntVar(&o.members, "members", 3, "the largest number of receivers")
	flags.Float64Var(&o.cpu, "cpu", 0.25, "processors of each receiver")
	flags.IntVar(&o.webhooks, "webhooks", 240, "webhooks; with few of them the partitions of one receiver have more than those of another")
	flags.IntVar(&o.backlog, "backlog", 200, "events of each webhook in the backlog")
	flags.DurationVar(&o.steady, "steady", 6*time.Second, "how long steady delivery is measured")
	flags.StringVar(&o.only, "only", "", "comma-separated sections: drain, steady, accept; default: all")
	flags.StringVar(&o.flags, "flags", "", "more flags of the receivers, separated by spaces")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.members < 1 || o.webhooks < 1 || o.backlog < 1 || o.cpu <= 0 || o.steady <= 0 {
		return o, errors.New("all numbers must be positive")
	}
	return o, nil
}

func (o options) selected(section string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), section)
}

func run(ctx context.Context, o options) (err error) {
	if o.natsPort > 0 {
		return serveNATS(ctx, o)
	}
	dir, err := os.MkdirTemp("", "mandrill-partitions-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	fmt.Printf("%s\n", harness.Machine())
	if o.selected("drain") || o.selected("steady") {
		if err := measureMembers(ctx, died, o, dir); err != nil {
			return err
		}
	}
	if o.selected("accept") {
		return measureAccept(ctx, died, dir)
	}
	return nil
}
