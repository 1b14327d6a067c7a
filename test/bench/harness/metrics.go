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
	// scrapeInterval limits the precision of times measured by metrics.
	scrapeInterval = 100 * time.Millisecond
	scrapeTimeout  = 10 * time.Second
)

// Metrics is a program's /metrics in the text format.
type Metrics string

// Scrape reads a program's metrics.
func Scrape(ctx context.Context, address string) (Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("scraping metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("scraping metrics: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return "", fmt.Errorf("reading metrics: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("scraping metrics: status %d", response.StatusCode)
	}
	return Metrics(body), nil
}

// Sum sums the series of a metric that have all the labels, each like `result="success"`.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var total float64
series:
	for line := range strings.Lines(string(m)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' { // another metric with a longer name
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

// AwaitMetrics scrapes metrics until the condition holds. It retries while the program does not answer.
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
			return errors.Join(fmt.Errorf("timed out waiting for %s, after %s", what, limit), err)
		case <-ticker.C:
		}
	}
}
