package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// HintReporterOptions configures a [HintReporter]. URL and Metrics are required.
type HintReporterOptions struct {
	URL        string // of the operator
	Metrics    *Metrics
	HTTPClient *http.Client                         // default: a new one; redirects are never followed
	Logger     *slog.Logger                         // default: slog.Default()
	Interval   time.Duration                        // between requests, default one minute
	After      func(time.Duration) <-chan time.Time // default time.After
}

// HintReporter tells the operator which webhooks get batches with a bad signature: the key may have been reset at Mandrill,
// which the receiver cannot see. Reports are best effort, because the operator lists every account at intervals anyway.
type HintReporter struct {
	options  HintReporterOptions
	endpoint string
	client   http.Client

	mu      sync.Mutex
	waiting []string // names of webhooks in order of arrival, so that every one gets its turn
	known   map[string]bool
	wake    chan struct{} // holds an element while names are waiting
}

// NewHintReporter returns a reporter. It sends nothing until it runs.
func NewHintReporter(options HintReporterOptions) *HintReporter {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Interval == 0 {
		options.Interval = hintInterval
	}
	if options.After == nil {
		options.After = time.After
	}
	h := &HintReporter{
		options: options, endpoint: strings.TrimSuffix(options.URL, "/") + "/signature-hints",
		known: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	if options.HTTPClient != nil {
		h.client = *options.HTTPClient
	}
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return h
}

// BadSignature reports that a batch for a route had a signature that matches none of its keys. It never blocks, and drops
// reports beyond maxHints.
func (h *HintReporter) BadSignature(route string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(routes.Webhook(route))
}

// Run sends reports until the context ends: the first at once, later ones after the interval.
func (h *HintReporter) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		h.report(ctx)
		select {
		case <-ctx.Done():
			return
		case <-h.options.After(h.options.Interval):
		}
	}
}

// add queues names that are not queued. The lock must be held.
func (h *HintReporter) add(names ...string) {
	for _, name := range names {
		if !h.known[name] && len(h.waiting) < maxHints {
			h.known[name] = true
			h.waiting = append(h.waiting, name)
		}
	}
	h.updateWake()
}

// take removes the names of one request.
func (h *HintReporter) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.waiting), maxHintsPerRequest)
	names := slices.Sorted(slices.Values(h.waiting[:n]))
	h.waiting = slices.Delete(h.waiting, 0, n)
	for _, name := range names {
		delete(h.known, name)
	}
	h.updateWake()
	return names
}

// updateWake makes wake hold an element while names are waiting. The lock must be held.
func (h *HintReporter) updateWake() {
	select {
	case <-h.wake:
	default:
	}
	if len(h.waiting) > 0 {
		h.wake <- struct{}{} // never blocks: only this function sends, under the lock
	}
}

// report sends one request. Its names are sent again when it fails.
func (h *HintReporter) report(ctx context.Context) {
	names := h.take()
	err := h.post(ctx, names)
	if err == nil {
		h.options.Metrics.hints.WithLabelValues("sent").Inc()
		h.options.Logger.Info("Reported bad signatures to the operator", "webhooks", len(names))
		return
	}
	h.mu.Lock()
	h.add(names...)
	h.mu.Unlock()
	if ctx.Err() != nil { // the receiver stops
		return
	}
	h.options.Metrics.hints.WithLabelValues("failed").Inc()
	h.options.Logger.Warn("Could not report bad signatures to the operator, will try again", "webhooks", len(names), "error", err.Error())
}

// post sends names to the operator. Its errors hold no address.
func (h *HintReporter) post(ctx context.Context, names []string) error {
	body, err := json.Marshal(map[string][]string{"routes": names})
	if err != nil {
		return fmt.Errorf("encoding hints: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.endpoint, bytes.NewReader(body))
	if err != nil {
		return errors.New("the operator's URL cannot be parsed")
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(request)
	if err != nil {
		return withoutAddress(err)
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxHintAnswer) // so that the connection can be used again
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the operator answered with status %d", response.StatusCode)
	}
	return nil
}

// withoutAddress replaces the error of a request by its class.
func withoutAddress(err error) error {
	var unresolved *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &unresolved):
		return errors.New("the operator's name was not resolved")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the operator did not answer in time")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the operator's address refused the connection")
	}
	return errors.New("the operator could not be reached")
}
