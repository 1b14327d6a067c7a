// The hostile benchmark measures what good batches experience while the receiver is under attack: the program as it is
// built, in a process of its own for each attack, a consumer, a steady stream of batches as Mandrill sends them, and a
// thousand senders that are up to no good, all on loopback. It prints a table on standard output and everything else on
// standard error. It judges no time: it fails only when an event is lost, or when anybody is answered otherwise than
// docs/troubleshooting.md says.
//
//	go run ./test/bench/hostile [-senders 1000] [-window 15s]
//
// It expects the receiver in bin/ and runs from the project's root, on Linux, whose /proc it reads.
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

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	senders  int           // of an attack, at the same time
	window   time.Duration // of an attack
	quiet    time.Duration // before and after it
	rate     int           // good batches a second
	deadline time.Duration // for anything that is waited for
	only     string
	logLevel string
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("hostile", flag.ContinueOnError)
	flags.IntVar(&o.senders, "senders", 1000, "senders that attack at the same time")
	flags.DurationVar(&o.window, "window", 15*time.Second, "how long an attack lasts; slow headers are cut off after 10 s")
	flags.DurationVar(&o.quiet, "quiet", 5*time.Second, "how long good batches are measured before an attack, and after it")
	flags.IntVar(&o.rate, "rate", 40, "good batches a second, of 10 events each")
	flags.DurationVar(&o.deadline, "deadline", time.Minute, "how long anything that is waited for may take, such as a good batch until it is accepted")
	flags.StringVar(&o.only, "only", "", "leave out attacks whose name does not have this")
	flags.StringVar(&o.logLevel, "log-level", "error", "of the receiver")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.senders < 1 || o.window <= 0 || o.quiet <= 0 || o.rate < 1 || o.deadline <= 0 {
		return o, errors.New("all numbers must be positive")
	}
	return o, nil
}

// run prints what was measured also when something failed after it.
func run(ctx context.Context, o options) error {
	var rows []row
	var faults []error
	for _, a := range attacks() {
		if !strings.Contains(a.name, o.only) {
			continue
		}
		r, err := a.measure(ctx, o)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", a.name, err))
		}
		rows = append(rows, r)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Printf("%d senders at the same time, for %s each; %d CPUs, %s %s/%s\n\n%s", o.senders, o.window,
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, table(rows))
	return errors.Join(faults...)
}

// row is what was measured of one attack.
type row struct {
	name                  string
	before, during, after batchStats
	answers               *statusCounts
	idle, peak            int64 // resident memory of the receiver
}

// measure runs an attack against a receiver of its own.
func (a attack) measure(ctx context.Context, o options) (r row, err error) {
	r.name, r.answers = a.name, &statusCounts{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := start(ctx, cancel, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return r, err
	}
	if r.idle, err = s.receiver.PeakMemory(); err != nil {
		return r, err
	}
	for _, phase := range []struct {
		into   *batchStats
		window time.Duration
	}{{&r.before, o.quiet}, {&r.during, o.window}, {&r.after, o.quiet}} {
		ended := func() {}
		if phase.into == &r.during {
			harness.Logf("%s", a.name)
			r.answers, ended = a.start(ctx, s.address, o.senders)
		}
		*phase.into, err = s.sender.send(ctx, phase.window)
		ended()
		if err != nil {
			return r, err
		}
	}
	if r.peak, err = s.receiver.PeakMemory(); err != nil {
		return r, err
	}
	return r, errors.Join(a.unexpected(r.answers), s.check(ctx))
}

func table(rows []row) string {
	var text strings.Builder
	text.WriteString("| attack | good batches a second | p50, ms | p99, ms | afterwards, p99 | 503 | answers to the attack | memory |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		b, d, a := r.before, r.during, r.after
		fmt.Fprintf(&text, "| %s | %.1f (%s %.1f) | %s (%s %s) | %s (%s %s) | %.1f, %s ms | %d | %s | %d MiB, idle %d |\n", r.name,
			d.perSecond(), ratio(d.perSecond(), b.perSecond()), b.perSecond(),
			milliseconds(d.quantile(0.5)), ratio(d.quantile(0.5).Seconds(), b.quantile(0.5).Seconds()), milliseconds(b.quantile(0.5)),
			milliseconds(d.quantile(0.99)), ratio(d.quantile(0.99).Seconds(), b.quantile(0.99).Seconds()), milliseconds(b.quantile(0.99)),
			a.perSecond(), milliseconds(a.quantile(0.99)), d.refused+b.refused+a.refused, r.answers.String(), r.peak>>20, r.idle>>20)
	}
	return text.String()
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }

// ratio is such as "0.98 ×".
func ratio(now, before float64) string {
	if before == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", now/before)
}
