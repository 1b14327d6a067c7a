package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const signingKey = "bench-signing-key"

func hookURL(webhook int) string { return "https://hooks.example.com/" + strconv.Itoa(webhook) }

// generator makes events of some 1.1 KB that differ like real ones. Each worker has its own.
type generator struct {
	random  *rand.Rand
	samples [][]byte
}

func newGenerator(seed uint64) *generator {
	g := &generator{random: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // not for secrets
	samples := mandrilltest.Samples()
	for _, kind := range []string{"send", "delivered", "open", "click"} {
		var out bytes.Buffer
		if err := json.Compact(&out, samples[kind]); err != nil {
			panic(err) // the samples are tested
		}
		g.samples = append(g.samples, bytes.TrimSuffix(out.Bytes(), []byte("}")))
	}
	return g
}

// event makes an event of a webhook. Repeated members are fine: the last one counts.
func (g *generator) event(webhook, number int) []byte {
	return fmt.Appendf(slices.Clone(g.samples[g.random.IntN(len(g.samples))]), `,"_id":"w%d-m%d","number":%d,"metadata":{"order":%q,"cart":%q},"trace":%q}`,
		webhook, number%messagesPerWebhook, number, harness.Hex(g.random, 8), harness.Hex(g.random, 16), harness.Hex(g.random, 48))
}

const (
	loadWorkers = 12
	// steadyBatch is a batch of steady load, and steadyWindow how many events of a webhook may wait before it gets no further batch.
	steadyBatch  = 50
	steadyWindow = 50
	sendTimeout  = time.Minute
)

// load sends batches to receivers in turn, as fast as events arrive, until ctx ends.
type load struct {
	ledger    *ledger
	addresses []string // of receivers
	client    *http.Client
	next      atomic.Int64
}

// run sends until ctx ends. The last batches are sent completely.
func (l *load) run(ctx context.Context) error {
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loadWorkers}, Timeout: sendTimeout}
	defer l.client.CloseIdleConnections()
	errs := make([]error, loadWorkers)
	var group sync.WaitGroup
	for worker := range loadWorkers {
		group.Go(func() { errs[worker] = l.work(ctx, worker) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// work sends batches of a worker's webhooks in turn.
func (l *load) work(ctx context.Context, worker int) error {
	g := newGenerator(uint64(time.Now().UnixNano()) + uint64(worker)) //nolint:gosec // it wraps around
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		sent := false
		for webhook := worker; webhook < len(l.ledger.webhooks) && ctx.Err() == nil; webhook += loadWorkers {
			if l.ledger.waiting(webhook) >= steadyWindow {
				continue
			}
			sent = true
			if err := l.send(context.WithoutCancel(ctx), webhook, l.ledger.newEvents(g, webhook, steadyBatch)); err != nil {
				return err
			}
		}
		if !sent {
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}
	return nil
}

func (l *load) send(ctx context.Context, webhook int, events [][]byte) error {
	to := l.addresses[int(l.next.Add(1))%len(l.addresses)]
	request, err := mandrilltest.NewRequest(ctx, "http://"+to+"/"+strconv.Itoa(webhook), hookURL(webhook), signingKey, mandrilltest.Batch(events...))
	if err != nil {
		return err
	}
	response, err := l.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close() // everything was read
	if err == nil && response.StatusCode != http.StatusOK {
		return fmt.Errorf("a batch got status %d", response.StatusCode)
	}
	return err
}
