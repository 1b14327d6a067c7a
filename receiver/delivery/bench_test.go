package delivery_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func webhookNames(count int) (names []string) {
	for i := range count {
		names = append(names, fmt.Sprintf("team-%03d/transactional-%02d", i/20, i%20))
	}
	return names
}

// BenchmarkScrape measures /metrics with 5,000 webhooks: idle ones, and ones that have delivered and fail.
func BenchmarkScrape(b *testing.B) {
	for _, busy := range []bool{false, true} {
		b.Run(fmt.Sprintf("busy=%t", busy), func(b *testing.B) {
			var before, after runtime.MemStats
			names := webhookNames(5000)
			runtime.GC()
			runtime.ReadMemStats(&before)
			f := newFixture(names...)
			runtime.GC()
			runtime.ReadMemStats(&after)
			if busy {
				for _, name := range names {
					f.Webhook(name).Arrived()
					f.Webhook(name).Delivered(1, time.Second)
					f.fail(name, true)
				}
			}
			registry := prometheus.NewRegistry()
			registry.MustRegister(f.State)
			handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
			var answer countingWriter
			for b.Loop() {
				answer = countingWriter{ResponseRecorder: httptest.NewRecorder()}
				handler.ServeHTTP(&answer, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil))
			}
			b.ReportMetric(float64(answer.bytes), "answer-bytes")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(names)), "bytes/webhook")
			runtime.KeepAlive(f)
		})
	}
}

// countingWriter drops the body.
type countingWriter struct {
	*httptest.ResponseRecorder
	bytes int
}

func (w *countingWriter) Write(data []byte) (int, error) {
	w.bytes += len(data)
	return io.Discard.Write(data)
}
