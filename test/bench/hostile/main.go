// The hostile benchmark measures how valid batches fare while the receiver is under attack. For each attack it runs the receiver in a
// process of its own, a sink, a steady stream of batches as Mandrill sends them, and a thousand attackers, all on loopback. It prints a
// table on standard output and everything else on standard error. It judges no time: it fails only when an event is lost, or when a
// request gets another status than docs/troubleshooting.md documents.
//
//	go run ./test/bench/hostile [-senders 1000] [-window 15s]
//
// It needs bin/receiver and Linux, whose /proc it reads. Run it from the project's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

type options struct {
	senders  int           // concurrent attackers
	window   time.Duration // how long an attack lasts
	quiet    time.Duration // how long valid batches are measured before and after it
	rate     int           // valid batches per second
	deadline time.Duration // of any wait
	only     string
	logLevel string
}

func main() { harness.Main(parseFlags, run) }

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("hostile", flag.ContinueOnError)
	flags.IntVar(&o.senders, "senders", 1000, "concurrent attackers")
	flags.DurationVar(&o.window, "window", 15*time.Second, "how long an attack lasts; slow headers are cut off after 10 s")
	flags.DurationVar(&o.quiet, "quiet", 5*time.Second, "how long valid batches are measured before and after an attack")
	flags.IntVar(&o.rate, "rate", 40, "valid batches per second, of 10 events each")
	flags.DurationVar(&o.deadline, "deadline", time.Minute, "timeout of any wait, such as for the acceptance of a valid batch")
	flags.StringVar(&o.only, "only", "", "run only attacks whose name contains this")
	flags.StringVar(&o.logLevel, "log-level", "error", "log level of the receiver")
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

// run also prints what was measured before a failure.
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
	fmt.Printf("%d concurrent attackers, for %s each; %s\n\n%s", o.senders, o.window, harness.Machine(), table(rows))
	return errors.Join(faults...)
}

// row is the measurement of one attack.
type row struct {
	name                  string
	before, during, after batchStats
	answers               *statusCounts
	idle, peak            int64 // resident memory of the receiver
}

// measure starts a receiver and attacks it.
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
	text.WriteString("| attack | valid batches per second | p50, ms | p99, ms | afterwards: per second, p99 | 503 | answers to attackers | memory |\n|---|---|---|---|---|---|---|---|\n")
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

// ratio formats a ratio like "0.98 ×".
func ratio(now, before float64) string {
	if before == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", now/before)
}
