package receiver_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"
)

// An event that is not UTF-8 does not keep a consumer that reads strictly from the other events of its request.
func TestEventThatIsNotUTF8SparesTheOthers(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"Binary", "Structured", "Batched"} {
		f := newFixture(t)
		var received atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || strings.Contains(r.Header.Get("Content-Type"), "json") && !utf8.Valid(body) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if events := int64(strings.Count(string(body), `"specversion"`)); events > 0 {
				received.Add(events)
				return
			}
			received.Add(1)
		}))
		t.Cleanup(server.Close)
		document := f.document()
		document.Routes[0].Sink.URI, document.Routes[0].Delivery.ContentMode = server.URL, mode
		f.loadRoutes(t, document)
		batch := "[{\"event\":\"send\",\"_id\":\"odd\",\"s\":\"\xe9\"}" + strings.Repeat(`,{"event":"send","_id":"good"}`, 20) + "]"
		if response, body := f.do(t, f.request(t, batch)); response.StatusCode != http.StatusOK || received.Load() != 21 {
			t.Errorf("%s: %d %q, and the consumer got %d events of 21", mode, response.StatusCode, body, received.Load())
		}
	}
}
