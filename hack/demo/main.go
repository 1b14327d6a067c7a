// The demo runs everything on this machine: a real API server and etcd, the operator and the receiver with the
// rights that config/rbac gives them, an emulated Mandrill, and a consumer. It tells in short lines what happens, and takes keys: break the
// sink, kill the receiver, reset the key, send a thousand events, forge a batch.
//
//	KUBEBUILDER_ASSETS=<folder of etcd and kube-apiserver> go run ./hack/demo [-once] [-json] [-sink URL]
//
// Run it in the project's root, with the three programs in bin/ (make build).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	apiKey = "demo-key" // as in the sample
	// deadline is how long a batch may take to arrive, and a program to start or to stop.
	deadline = 3 * time.Minute
	// eventInterval is the time between events after the first batch.
	eventInterval = 3 * time.Second
)

// options are the flags.
type options struct {
	once bool
	json bool
	sink string
}

func main() {
	var o options
	flag.BoolVar(&o.once, "once", false, "exit after one batch: 0 when every event of it arrived")
	flag.BoolVar(&o.json, "json", false, "print each CloudEvent as a line of JSON on standard output, and everything else on standard error")
	flag.StringVar(&o.sink, "sink", "", "URL of a sink of your own, which gets the events")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && (o.once || !errors.Is(err, context.Canceled)) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, o options) (err error) {
	folder, err := os.MkdirTemp("", "mandrill-operator-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	told := newNarrator(os.Stdout, os.Stderr, o.json)
	defer told.close()
	consumer, err := newConsumer(ctx, told, o.sink)
	if err != nil {
		return err
	}
	defer consumer.Close()
	stack, err := start(ctx, folder, consumer.URL(), told)
	defer func() { err = errors.Join(err, stack.stop()) }()
	if err != nil {
		return err
	}
	if err := stack.apply(ctx); err != nil {
		return err
	}
	sent, err := stack.emit(ctx, `{}`)
	if err != nil {
		return err
	}
	told.say("Mandrill sends a batch of %d events, one of each kind.", len(sent))
	consumer.ledger.expect(sent)
	if err := errors.Join(stack.flush(ctx), stack.awaitFirst(ctx, consumer, sent)); err != nil {
		return err
	}
	told.say("All %d events arrived, each byte for byte as Mandrill sent it.", len(sent))
	if o.once {
		return nil
	}
	return stack.show(ctx, consumer, os.Stdin)
}

// awaitFirst waits for the first batch, and says why when an event of it does not arrive.
func (s *stack) awaitFirst(ctx context.Context, consumer *consumer, sent []string) error {
	arrived, err := consumer.await(ctx, len(sent), deadline)
	if err != nil {
		return errors.Join(err, s.explain(ctx, consumer))
	}
	return check(sent, arrived)
}
