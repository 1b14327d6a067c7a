package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	// backlogTimeout is for what takes long with a large backlog.
	backlogTimeout = 20 * time.Minute
	readyInterval  = 10 * time.Millisecond
	backlogTotal   = "mandrill_receiver_backlog_events"
	available      = "mandrill_receiver_buffer_available"
)

// receiverProcess is a receiver with a buffer, in a process of its own.
type receiverProcess struct {
	program *harness.Program
	admin   string
}

func startReceiver(ctx context.Context, died context.CancelCauseFunc, dir, config string) (*receiverProcess, error) {
	return startReceiverAt(ctx, died, "127.0.0.1:0", dir, config)
}

func startReceiverAt(ctx context.Context, died context.CancelCauseFunc, listen, dir, config string) (*receiverProcess, error) {
	admin, err := loopback.Address(ctx)
	if err != nil {
		return nil, err
	}
	program, err := harness.Start(died, "receiver", "--config", config, "--listen", listen, "--metrics-listen", admin,
		"--buffer=embedded", "--buffer-dir", dir, "--buffer-max-bytes", strconv.Itoa(bufferBytes), "--log-level=warn", "--shutdown-delay=0s")
	return &receiverProcess{program, admin}, err
}

// awaitBacklog waits until the receiver reports a backlog of a number of events.
func (p *receiverProcess) awaitBacklog(ctx context.Context, events int) error {
	return harness.AwaitMetrics(ctx, p.admin, fmt.Sprintf("a backlog of %d events", events), backlogTimeout, func(metrics harness.Metrics) bool {
		return metrics.Sum(available) == 1 && int(metrics.Sum(backlogTotal)) == events
	})
}

// awaitReady waits until the receiver is ready.
func (p *receiverProcess) awaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close() // only the status matters
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
