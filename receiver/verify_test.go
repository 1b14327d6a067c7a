package receiver_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// A request costs a hash of its body for each route that it may be for. Routes with the request's host come first, so that
// others with its path, however many, neither hide its own nor make it expensive.
func TestRouteWithTheHostIsFoundAmongManyWithThePath(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := &routes.Document{}
	for i := range 1000 {
		document.Routes = append(document.Routes, routes.Route{
			Name: fmt.Sprint("other/", i), URL: fmt.Sprintf("https://c%d.example.com/mandrill/shop", i), Keys: []string{fmt.Sprint("key", i)}, Source: "/s", Sink: routes.Sink{URI: f.sink.URL},
		})
	}
	own := f.document().Routes[0]
	document.Routes = append(document.Routes, own)
	f.loadRoutes(t, document)
	request := f.requestTo(t, "/mandrill/shop", own.URL, signingKey, `[{"event":"open","_id":"a"}]`)
	request.Host = "HOOKS.example.com:443"
	if response, body := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Errorf("with its host: got %d %q, want 200", response.StatusCode, body)
	}
	request = f.requestTo(t, "/mandrill/shop", own.URL, signingKey, `[{"event":"open","_id":"b"}]`)
	request.Host = "rewritten.example"
	if response, _ := f.do(t, request); response.StatusCode != http.StatusForbidden {
		t.Errorf("with a host that a proxy rewrote, beyond the bound: got %d, want 403", response.StatusCode)
	}
}
