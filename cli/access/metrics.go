package access

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
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
	for series, seconds := range Samples(metrics) {
		rest, isSeries := strings.CutPrefix(series, lastReceivedSeries)
		webhook, isWhole := strings.CutSuffix(rest, `"}`)
		if at := time.Unix(0, int64(seconds*float64(time.Second))); isSeries && isWhole && at.After(last[webhook]) {
			last[webhook] = at
		}
	}
}

// Samples returns the series and the values in metrics, which are in the text format of Prometheus without timestamps. What cannot be
// read is left out.
func Samples(metrics []byte) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		lines := bufio.NewScanner(bytes.NewReader(metrics))
		lines.Buffer(nil, len(metrics)+1)
		for lines.Scan() {
			line := lines.Text()
			at := strings.LastIndexByte(line, ' ')
			value, err := strconv.ParseFloat(line[at+1:], 64)
			if err == nil && at > 0 && !strings.HasPrefix(line, "#") && !yield(line[:at], value) {
				return
			}
		}
	}
}
