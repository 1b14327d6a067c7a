package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const (
	// senders is how many valid batches are sent at the same time.
	senders = 8
	// batchEvents is how many events a valid batch has.
	batchEvents = 10
	// resendPause is the pause before a refused batch is sent again. Mandrill's is longer.
	resendPause = 100 * time.Millisecond
)

// batchSender sends valid batches at a steady rate, and repeats those that got 503.
type batchSender struct {
	target   string
	ledger   *ledger
	client   *http.Client
	interval time.Duration // of one sender
	deadline time.Duration
	sent     atomic.Int64
	accepted atomic.Int64
}

func newBatchSender(address string, book *ledger, o options) *batchSender {
	return &batchSender{
		target: "http://" + address + hookPath, ledger: book,
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: o.deadline},
		interval: senders * time.Second / time.Duration(o.rate), deadline: o.deadline,
	}
}

// batchStats are the measurements of the batches of a phase.
type batchStats struct {
	took    []time.Duration // from the first attempt to acceptance of a batch, ascending
	refused int             // attempts
	elapsed time.Duration
}

func (s batchStats) perSecond() float64 { return float64(len(s.took)) / s.elapsed.Seconds() }

func (s batchStats) quantile(q float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	return s.took[int(q*float64(len(s.took)-1))]
}

// send sends batches for a time, and returns when the last one was accepted.
func (m *batchSender) send(ctx context.Context, window time.Duration) (batchStats, error) {
	var mu sync.Mutex
	var all batchStats
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range senders {
		group.Go(func() error {
			next := began.Add(time.Duration(i) * m.interval / senders)
			for ; next.Sub(began) < window; next = next.Add(m.interval) {
				if !pause(ctx, time.Until(next)) {
					return context.Cause(ctx)
				}
				took, refused, err := m.batch(ctx)
				if err != nil {
					return err
				}
				mu.Lock()
				all.took, all.refused = append(all.took, took), all.refused+refused
				mu.Unlock()
				if late := time.Since(next); late > m.interval { // lost time is not made up for
					next = next.Add(late)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	all.elapsed = max(window, time.Since(began))
	slices.Sort(all.took)
	return all, err
}

// batch sends a batch until it is accepted. It returns how long that took and how often it was refused.
func (m *batchSender) batch(ctx context.Context) (took time.Duration, refused int, err error) {
	number := m.sent.Add(1)
	var ids []string
	var events [][]byte
	for i := range batchEvents {
		ids = append(ids, fmt.Sprintf("%d-%d", number, i))
		events = append(events, fmt.Appendf(nil, `{"event":"open","_id":%q,"ts":1767225600}`, ids[i]))
	}
	for began := time.Now(); ; refused++ {
		request, err := mandrilltest.NewRequest(ctx, m.target, hookURL, signingKey, mandrilltest.Batch(events...))
		if err != nil {
			return 0, 0, err
		}
		response, err := m.client.Do(request)
		if err != nil {
			return 0, 0, fmt.Errorf("sending a valid batch: %w", err)
		}
		_, _ = io.Copy(io.Discard, response.Body) // a short body
		_ = response.Body.Close()
		took = time.Since(began)
		switch {
		case response.StatusCode == http.StatusOK:
			m.accepted.Add(1)
			m.ledger.recordAccepted(ids)
			return took, refused, nil
		case response.StatusCode != http.StatusServiceUnavailable:
			return 0, 0, fmt.Errorf("a valid batch got status %d", response.StatusCode)
		case took > m.deadline:
			return 0, 0, fmt.Errorf("a valid batch was not accepted within %s", m.deadline)
		}
		if !pause(ctx, resendPause) {
			return 0, 0, context.Cause(ctx)
		}
	}
}
