package main

import (
	"fmt"
	"slices"
	"time"
)

// times are latencies.
type latencies []time.Duration

func (t latencies) quantile(part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

func (t latencies) String() string {
	return fmt.Sprintf("p50 %s, p99 %s", ms(t.quantile(0.5)), ms(t.quantile(0.99)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

func rate(events int, took time.Duration) float64 { return float64(events) / took.Seconds() }
