// The scale benchmark measures the operator and the receiver with many MandrillWebhooks. It runs a real API server and etcd, both programs
// with the permissions of config/rbac, and an emulated Mandrill that counts API calls. It prints a table on standard output and everything
// else on standard error. It judges no time: it fails only when objects do not become Ready, when Mandrill does not have exactly one
// webhook for each object, or when it gets calls other than lists although nothing changed.
//
//	KUBEBUILDER_ASSETS=<directory of etcd and kube-apiserver> go run ./test/bench/scale [-objects 5000] [-accounts 5] [-only status]
//
// It needs the programs in bin/ and Linux, whose /proc it reads. Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	objects, accounts int
	phases            []int         // numbers of objects, ascending; the last one is all of them
	samples           int           // objects to change and to add, one at a time
	resync            time.Duration // while idle
	deadline          time.Duration
	logLevel          string
	only              string // a step after the first; empty: all
}

func main() {
	klog.SetLogger(logr.Discard()) // client-go logs every watch that it restarts
	ctrl.SetLogger(logr.Discard())
	harness.Main(parseFlags, run)
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.IntVar(&o.objects, "objects", 5000, "MandrillWebhooks to create")
	flags.IntVar(&o.accounts, "accounts", 5, "Mandrill accounts to distribute them over, each with its own namespace")
	phases := flags.String("phases", "1000,2500", "numbers of objects at which creation pauses until all are Ready, to measure the routes; empty: no pause")
	flags.IntVar(&o.samples, "samples", 20, "objects to change and to add, one at a time")
	flags.DurationVar(&o.resync, "resync-interval", 15*time.Second, "resync interval while idle; all other steps use the operator's default")
	flags.DurationVar(&o.deadline, "deadline", 30*time.Minute, "timeout of any wait, such as for all objects to become Ready")
	flags.StringVar(&o.logLevel, "log-level", "error", "log level of the operator and the receiver")
	flags.StringVar(&o.only, "only", "", "create the objects, and then run only this step: restart, change, add, idle or status; empty: all")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.accounts < 1 || o.objects < o.accounts || o.samples < 1 || o.resync <= 0 || o.deadline <= 0 {
		return o, errors.New("all numbers must be positive, and there must be an object for each account")
	}
	for text := range strings.FieldsFuncSeq(*phases, func(c rune) bool { return c == ',' }) {
		phase, err := strconv.Atoi(text)
		if err != nil || phase < 1 {
			return o, fmt.Errorf("-phases: %q is not a number of objects", text)
		}
		if phase < o.objects {
			o.phases = append(o.phases, phase)
		}
	}
	slices.Sort(o.phases)
	o.phases = append(slices.Compact(o.phases), o.objects)
	return o, nil
}

// run also prints what was measured before a failure.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "mandrill-operator-bench-")
	if err != nil {
		return fmt.Errorf("creating a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)                          //nolint:errcheck // a temporary directory
	if err := os.Setenv("TMPDIR", dir); err != nil { // removed with what the control plane leaves there
		return fmt.Errorf("setting TMPDIR: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := start(ctx, cancel, dir, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	b := &bench{options: o, stack: s}
	err = errors.Join(b.measure(ctx), errors.Join(b.faults...))
	if len(b.table.rows) > 0 {
		fmt.Printf("%d objects in %d accounts; %s\n\n%s", o.objects, o.accounts, harness.Machine(), b.table.String())
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause // a program that exited is the cause of everything else
	}
	return err
}
