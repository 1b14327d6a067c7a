package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const signingKey = "bench-signing-key"

// hookURL is the URL of a webhook.
func hookURL(batched bool, webhook int) string {
	return "https://hooks.example.com" + hookPath(batched, webhook)
}

func hookPath(batched bool, webhook int) string {
	if batched {
		return "/batched/" + strconv.Itoa(webhook)
	}
	return "/binary/" + strconv.Itoa(webhook)
}

// loadGenerator sends signed batches, a number of them at a time.
type loadGenerator struct {
	requests []*http.Request
	events   int
	client   *http.Client
}

func (g *loadGenerator) do(ctx context.Context, j job) (result, error) {
	if j.Do == "prepare" {
		return g.prepare(ctx, j)
	}
	took, times, err := inParallel(len(g.requests), j.Inflight, func(i int) error { return send(g.client, g.requests[i], http.StatusOK) })
	g.client.CloseIdleConnections()
	g.requests = nil
	return result{Events: g.events, Took: took, P50: quantile(times, 0.5), P99: quantile(times, 0.99)}, err
}

func (g *loadGenerator) prepare(ctx context.Context, j job) (result, error) {
	generator := newEventGenerator(j.Seed)
	g.requests, g.events = nil, j.Batches*j.Size
	g.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: j.Inflight}, Timeout: time.Minute}
	total := 0
	for i := range j.Batches {
		webhook := i % j.Webhooks
		batch := mandrilltest.Batch(generator.events(j.Size)...)
		target := "http://" + j.To + hookPath(j.Batched, webhook)
		request, err := mandrilltest.NewRequest(ctx, target, hookURL(j.Batched, webhook), signingKey, batch)
		if err != nil {
			return result{}, err
		}
		g.requests = append(g.requests, request)
		total += len(batch)
	}
	return result{Events: g.events, Bytes: total}, nil
}

// send sends a request and reads the answer.
func send(client *http.Client, request *http.Request, want int) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close() // everything was read
	if err == nil && response.StatusCode != want {
		return fmt.Errorf("got status %d", response.StatusCode)
	}
	return err
}

// inParallel calls do with 0 to n-1, some of them at a time, and returns how long all took, and each.
func inParallel(n, inflight int, do func(i int) error) (time.Duration, []time.Duration, error) {
	times := make([]time.Duration, n)
	var next atomic.Int64
	var failure atomic.Pointer[error]
	var group sync.WaitGroup
	begin := time.Now()
	for range min(inflight, n) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failure.Load() == nil; i = int(next.Add(1)) - 1 {
				begun := time.Now()
				if err := do(i); err != nil {
					failure.CompareAndSwap(nil, &err)
				}
				times[i] = time.Since(begun)
			}
		})
	}
	group.Wait()
	if err := failure.Load(); err != nil {
		return 0, nil, *err
	}
	return time.Since(begin), times, nil
}

func quantile(times []time.Duration, part float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
