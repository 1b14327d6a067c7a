package routing

import (
	"iter"
	"log/slog"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// An observer knows a webhook before its first request is served, also those of other documents and earlier URLs.
func TestObserverKnowsTheWebhooksOfAllRoutes(t *testing.T) {
	t.Parallel()
	var got []string
	r := &Routes{Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	r.Observe = func(webhooks iter.Seq[string]) { got = slices.Compact(slices.Sorted(webhooks)) }
	document := func(names ...string) []byte {
		text := []byte("routes:\n")
		for _, name := range names {
			text = append(text, []byte("- {name: '"+name+"', url: 'http://a.example/"+name+"', source: /s, sink: {uri: 'http://x.example'}}\n")...)
		}
		return text
	}
	for _, step := range []struct {
		name  string
		names []string
		want  []string
	}{
		{"first", []string{"shop/a", "shop/a~1", "shop/b"}, []string{"shop/a", "shop/b"}},
		{"second", []string{"shop/c"}, []string{"shop/a", "shop/b", "shop/c"}},
		{"first", []string{"shop/b"}, []string{"shop/b", "shop/c"}},
	} {
		if err := r.Load(step.name, document(step.names...)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	_ = r.Load("first", []byte("nonsense"))
	if want := []string{"shop/b", "shop/c"}; !slices.Equal(got, want) {
		t.Errorf("after a bad document: got %q, want %q", got, want)
	}
}
