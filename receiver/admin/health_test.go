package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
)

func TestReadinessNamesItsCause(t *testing.T) {
	t.Parallel()
	var cause error
	var note string
	handler := admin.HealthHandler(http.NotFoundHandler(), func(context.Context) error { return cause }, func() string { return note })
	get := func(path string) (int, string) {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return response.Code, response.Body.String()
	}
	if status, body := get("/readyz"); status != http.StatusOK || body != "" {
		t.Errorf("ready: got %d %q", status, body)
	}
	note = "the buffer has lost messages"
	if status, body := get("/readyz"); status != http.StatusOK || body != note+"\n" {
		t.Errorf("ready with a note: got %d %q", status, body)
	}
	cause = errors.New("the buffer cannot be written")
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || body != "the buffer cannot be written\n" {
		t.Errorf("not ready: got %d %q", status, body)
	}
	if status, _ := get("/healthz"); status != http.StatusOK {
		t.Errorf("alive: got %d", status)
	}
}
