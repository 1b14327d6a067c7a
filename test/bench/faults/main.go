// The faults benchmark measures what objects with a permanent fault cost: calls to Mandrill, probes and requests to the API server, per
// object and minute. It runs a real API server and etcd, the operator and the receiver in this process, and an emulated Mandrill. All faults
// are there at the same time, each in a namespace with an account of its own. It prints a table on standard output and judges nothing.
//
//	KUBEBUILDER_ASSETS=<directory of etcd and kube-apiserver> go run ./test/bench/faults [-objects 20] [-minutes 10]
//
// Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	objects, minutes int
	resync           time.Duration
}

func main() {
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	harness.Main(parseFlags, run)
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.IntVar(&o.objects, "objects", 20, "objects with each fault")
	flags.IntVar(&o.minutes, "minutes", 10, "minutes to measure, of which the first is shown by itself")
	flags.DurationVar(&o.resync, "resync-interval", time.Minute, "resync interval of the operator")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.objects < 1 || o.minutes < 2 || o.resync <= 0 {
		return o, errors.New("all numbers must be positive, and there must be two minutes at least")
	}
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	s, err := start(ctx, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	harness.Logf("creating %d objects with each of %d faults", o.objects, len(faults))
	for _, f := range faults {
		if err := s.create(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	begin := s.counts.snapshot()
	for _, f := range faults {
		if f.begin != nil {
			f.begin(ctx, s, namespaceOf(f))
		}
	}
	if err := pause(ctx, time.Minute); err != nil {
		return err
	}
	first := s.counts.snapshot()
	harness.Logf("measuring for %d minutes more", o.minutes-1)
	if err := pause(ctx, time.Duration(o.minutes-1)*time.Minute); err != nil {
		return err
	}
	last := s.counts.snapshot()
	fmt.Printf("%d objects with each fault, %d minutes, --resync-interval %s; %s\n\n", o.objects, o.minutes, o.resync, harness.Machine())
	fmt.Println("| fault | calls to Mandrill | probes | requests to the API server | of these status writes | Events |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, f := range faults {
		fmt.Print("| ", f.name, " |")
		for _, kind := range kinds {
			key := countKey{namespaceOf(f), kind}
			early := begin[key]
			if f.begin == nil {
				early = 0 // its fault is there from the creation
			}
			fmt.Printf(" %s, then %s |", perObject(first[key]-early, o.objects), perObject(last[key]-first[key], o.objects*(o.minutes-1)))
		}
		fmt.Println()
	}
	return nil
}

// perObject formats a number per object, with two digits that count.
func perObject(count, objects int) string {
	return fmt.Sprintf("%.2g", float64(count)/float64(objects))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
