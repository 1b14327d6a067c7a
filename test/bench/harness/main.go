package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// Main is the main function of a benchmark. It exits with 2 after invalid arguments and with 1 after a failure; a signal ends
// the context of run.
func Main[Options any](parse func(args []string) (Options, error), run func(ctx context.Context, options Options) error) {
	options, err := parse(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		Logf("%v", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, options)
	stop()
	if err != nil {
		Logf("%v", err)
		os.Exit(1)
	}
}

// Machine describes where the benchmark runs, such as "2 CPUs, go1.26.8 linux/amd64".
func Machine() string {
	return fmt.Sprintf("%d CPUs, %s %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
