package access

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lastReceivedSeries begins the lines of the metrics that say when a batch of a webhook arrived last.
const lastReceivedSeries = `mandrill_receiver_last_received_timestamp_seconds{webhook="`

// maxAsked is how many receivers are asked at the same time.
const maxAsked = 8

// LastReceived asks receivers for their metrics, and returns when a batch of each webhook, NAMESPACE/NAME, arrived last since they
// started. The error names one that did not answer; what the others say is returned all the same.
func (c *Cluster) LastReceived(ctx context.Context, receivers []Receiver) (map[string]time.Time, error) {
	var mu sync.Mutex
	last, failures := map[string]time.Time{}, make([]error, len(receivers))
	var group errgroup.Group
	group.SetLimit(maxAsked)
	for i, receiver := range receivers {
		group.Go(func() error {
			metrics, err := c.ReceiverMetrics(ctx, receiver)
			mu.Lock()
			defer mu.Unlock()
			if failures[i] = err; ctx.Err() != nil {
				failures[i] = fmt.Errorf("the receiver %s did not show its metrics in time", receiver)
			}
			addLastReceived(last, metrics)
			return nil
		})
	}
	_ = group.Wait() // the errors are in failures
	for _, err := range failures {
		if err != nil {
			return last, err
		}
	}
	if len(receivers) == 0 {
		return last, errors.New("there are no receivers")
	}
	return last, nil
}

// addLastReceived adds the times in metrics that are later.
func addLastReceived(last map[string]time.Time, metrics []byte) {
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, len(metrics)+1)
	for lines.Scan() {
		rest, isSeries := strings.CutPrefix(lines.Text(), lastReceivedSeries)
		webhook, value, hasValue := strings.Cut(rest, `"} `)
		seconds, err := strconv.ParseFloat(value, 64)
		if !isSeries || !hasValue || err != nil {
			continue
		}
		if at := time.Unix(0, int64(seconds*float64(time.Second))); at.After(last[webhook]) {
			last[webhook] = at
		}
	}
}
