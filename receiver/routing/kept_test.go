package routing

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func document(name string) []byte {
	return []byte("routes: [{name: " + name + ", url: 'https://a.example/" + name + "', source: s, sink: {uri: 'http://x.example'}}]")
}

func serves(t *testing.T, r *Routes, name string) bool {
	t.Helper()
	return len(r.Match(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.example/"+name, nil))) > 0
}

// Kept documents are in use until the source has replaced all that exist. Until then no webhook counts as deleted.
func TestKeptDocumentsAreInUseUntilTheSourceIsComplete(t *testing.T) {
	t.Parallel()
	r := &Routes{Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	if err := r.Load("one", document("new")); err != nil {
		t.Fatal(err)
	}
	used, err := r.LoadKept(map[string][]byte{"one": document("old"), "two": document("b"), "three": document("c")})
	if err != nil || !used || !r.Ready() || r.Confirmed() {
		t.Fatalf("used %t, error %v, ready %t, confirmed %t", used, err, r.Ready(), r.Confirmed())
	}
	if serves(t, r, "old") || !serves(t, r, "new") || !serves(t, r, "b") || !serves(t, r, "c") {
		t.Error("a kept document goes before one of the source, or is not in use")
	}
	if _, gone := r.Webhook("a-webhook-of-the-meantime"); gone {
		t.Error("a webhook without a kept route counts as deleted")
	}
	if err := r.Load("two", []byte("nonsense")); err == nil {
		t.Error("nonsense was loaded")
	}
	r.Complete()
	if !r.Ready() || !r.Confirmed() {
		t.Error("not ready though the source is complete")
	}
	if !serves(t, r, "new") || !serves(t, r, "b") || serves(t, r, "c") {
		t.Error("the last good document of an existing Secret is not in use, or one of a missing Secret is")
	}
	if _, gone := r.Webhook("a-webhook-of-the-meantime"); !gone {
		t.Error("a webhook without a route does not count as deleted")
	}
	if used, err := r.LoadKept(map[string][]byte{"one": document("old")}); used || err != nil || serves(t, r, "old") {
		t.Errorf("kept documents replace those of the source: used %t, error %v", used, err)
	}
}

func TestBadKeptDocumentsChangeNothing(t *testing.T) {
	t.Parallel()
	r := &Routes{Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	used, err := r.LoadKept(map[string][]byte{"one": document("a"), "two": []byte("nonsense")})
	if err == nil || used || r.Ready() || serves(t, r, "a") {
		t.Errorf("used %t, error %v, ready %t", used, err, r.Ready())
	}
}

// A source that has no document has no routes: a path without a route is unknown. Yet no webhook counts as deleted, because the
// document may have been deleted by mistake.
func TestSourceWithoutDocumentsHasNoRoutes(t *testing.T) {
	t.Parallel()
	r := &Routes{Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	if r.Confirmed() {
		t.Error("confirmed before the source is complete")
	}
	r.Complete()
	if _, gone := r.Webhook("any"); !r.Confirmed() || r.Ready() || gone {
		t.Errorf("confirmed %t, ready %t, gone %t", r.Confirmed(), r.Ready(), gone)
	}
	if err := r.Load("one", []byte("nonsense")); err == nil || r.Confirmed() {
		t.Errorf("confirmed with a document that is not usable, error %v", err)
	}
}
