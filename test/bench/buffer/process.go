package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	// patience is for what takes long with a large backlog.
	backlogTimeout     = 20 * time.Minute
	readyInterval   = 10 * time.Millisecond
	backlogTotal = "mandrill_receiver_backlog_events"
	available    = "mandrill_receiver_buffer_available"
)

// process is a receiver with a buffer.
type receiverProcess struct {
	*harness.Program
	admin string
}

func startReceiver(ctx context.Context, died context.CancelCauseFunc, folder, config string) (*receiverProcess, error) {
	admin, err := harness.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	program, err := harness.Start(died, "receiver", "--config", config, "--listen=127.0.0.1:0", "--metrics-listen", admin,
		"--buffer=embedded", "--buffer-dir", folder, "--buffer-max-bytes", strconv.Itoa(bufferBytes), "--log-level=warn")
	return &receiverProcess{program, admin}, err
}

// backlog waits until so many events are known to wait.
func (p *receiverProcess) awaitBacklog(ctx context.Context, events int) error {
	return harness.AwaitMetrics(ctx, p.admin, fmt.Sprintf("a backlog of %d events", events), backlogTimeout, func(metrics harness.Metrics) bool {
		return metrics.Sum(available) == 1 && int(metrics.Sum(backlogTotal)) == events
	})
}

// ready waits until batches are accepted.
func (p *receiverProcess) awaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close() // its status is enough
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
