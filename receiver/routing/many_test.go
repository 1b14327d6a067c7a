package routing_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// many returns some routes in documents of 2500, and a request for the last one. They have one path and hosts of their own, or one host and
// paths of their own.
func many(t testing.TB, count int, onePath bool) (*routing.Routes, *http.Request, string) {
	t.Helper()
	table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	var document routes.Document
	name, target := "", ""
	for i := range count {
		name, target = fmt.Sprintf("shop/w%d", i), fmt.Sprintf("https://hooks.example.com/mandrill/shop/w%d", i)
		if onePath {
			target = fmt.Sprintf("https://w%d.example.com/mandrill", i)
		}
		document.Routes = append(document.Routes, routes.Route{
			Name: name, URL: target, Keys: []string{"key"}, Source: "/s", Sink: routes.Sink{URI: "http://sink.example"},
		})
		if len(document.Routes) == 2500 || i == count-1 {
			data, err := document.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := table.Load(strconv.Itoa(i), data); err != nil {
				t.Fatal(err)
			}
			document.Routes = nil
		}
	}
	return table, httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, nil), name
}

// A request finds its route among thousands that have the same path, and does not cost more for it.
func TestManyRoutesWithOnePath(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 2, 300, 6000} {
		table, request, name := many(t, count, true)
		found := table.Match(request)
		if len(found) != min(count, 256) || found[0].Name != name {
			t.Errorf("of %d: %d routes, first %s, want %s", count, len(found), found[0].Name, name)
		}
		seen := map[string]bool{}
		for _, route := range found {
			seen[route.Name] = true
		}
		if len(seen) != len(found) {
			t.Errorf("of %d: a route is there twice", count)
		}
		request.Host = "10.0.0.1:8080" // a proxy rewrote it
		if got := len(table.Match(request)); got != min(count, 256) {
			t.Errorf("of %d, with another host: %d routes", count, got)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, onePath := range []bool{false, true} {
		for _, count := range []int{100, 10_000, 20_000} {
			b.Run(fmt.Sprintf("%d routes, onePath=%t", count, onePath), func(b *testing.B) {
				table, request, _ := many(b, count, onePath)
				b.ReportAllocs()
				for b.Loop() {
					if len(table.Match(request)) == 0 {
						b.Fatal("not found")
					}
				}
			})
		}
	}
}
