// The program prints every metric of the receiver and the operator, as their /metrics does.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mandrill-operator/mandrill-operator/test/metrics"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func run() error {
	gatherer, err := metrics.Gatherer()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}).ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		return fmt.Errorf("gathering the metrics: %s", recorder.Body)
	}
	_, err = recorder.Body.WriteTo(os.Stdout)
	return err
}
