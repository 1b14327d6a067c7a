package dispatch_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// Names of a routes file are arbitrary, but become parts of the buffer's subjects and headers: none may break them or match another.
func TestWebhooksOfAnyNameAreDelivered(t *testing.T) {
	t.Parallel()
	names := []string{
		"shop/a.b", "shop/a=2Eb", "shop/a b", "shop/a*", "shop/>", "shop/ü", "shop/A", "shop/a", ".", strings.Repeat("ü", 256),
	}
	b := newBufferedReceiver(t)
	document := routes.Document{}
	for i, name := range names {
		host := fmt.Sprintf("h%d", i)
		document.Routes = append(document.Routes, routes.Route{
			Name: name, URL: hookURL(host), Keys: []string{signingKey}, Source: "/s", Sink: routes.Sink{URI: "http://" + host + ".example/"},
		})
	}
	data, err := document.Encode()
	if err == nil {
		err = b.routes.Load("routes", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range names {
		host := fmt.Sprintf("h%d", i)
		if status := b.postStatus(host, "send 1"); status != 200 {
			t.Errorf("%.20q: status %d", names[i], status)
		}
		want = append(want, host+" send 1")
	}
	b.sinks.expectAccepted(t, want...)
	b.waitEmpty()
}
