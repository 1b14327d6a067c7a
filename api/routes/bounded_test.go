package routes_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// A server of HTTP/2 that sends a status, and neither reads the request nor ends its answer, holds a client up only until its context
// ends.
func TestAnswersEndWithTheContext(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := &http.Client{Transport: routes.Bounded(server.Client().Transport)}
	t.Cleanup(client.CloseIdleConnections) // or the server would not close
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(strings.Repeat("1", 8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	time.AfterFunc(50*time.Millisecond, cancel) // while the answer is read
	if _, err := io.ReadAll(response.Body); err == nil || response.ProtoMajor != 2 {
		t.Errorf("got %v by HTTP/%d", err, response.ProtoMajor)
	}
}
