package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// scrapeInterval is how exact a time is that metrics tell.
	scrapeInterval = 100 * time.Millisecond
	scrapeTimeout  = 10 * time.Second
)

// Metrics is what a program's /metrics says, in the text format.
type Metrics string

// Scrape asks a program for its metrics.
func Scrape(ctx context.Context, address string) (Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("asking for metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking for metrics: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return "", fmt.Errorf("reading metrics: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for metrics: status %d", response.StatusCode)
	}
	return Metrics(body), nil
}

// Sum adds up the series of a metric that have all the labels, each such as `result="success"`.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var total float64
series:
	for line := range strings.Lines(string(m)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' { // a longer name
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue series
			}
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(strings.TrimSpace(rest), ' ')+1:]), 64)
		if err == nil {
			total += value
		}
	}
	return total
}

// AwaitMetrics asks for metrics until they say what is waited for. No answer is none yet.
func AwaitMetrics(ctx context.Context, address, what string, limit time.Duration, holds func(Metrics) bool) error {
	timeout := time.After(limit)
	ticker := time.NewTicker(scrapeInterval)
	defer ticker.Stop()
	for {
		current, err := Scrape(ctx, address)
		if err == nil && holds(current) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return errors.Join(fmt.Errorf("%s did not happen in %s", what, limit), err)
		case <-ticker.C:
		}
	}
}
