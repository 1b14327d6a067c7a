package routing_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

func TestTableMatchesRequestsByPath(t *testing.T) {
	t.Parallel()
	document := &routes.Document{Routes: []routes.Route{
		{Name: "alone", URL: "https://a.example/alone"}, {Name: "root", URL: "http://a.example"}, {Name: "escaped", URL: "https://a.example/x%2Fy"},
		{Name: "a", URL: "https://a.example/shared"}, {Name: "b", URL: "http://b.example:80/shared?x=1"},
		{Name: "rewritten", URL: "https://a.example/hooks/shop", Path: "/shop"},
	}}
	table, err := routing.NewTable(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ host, target, want string }{
		{"a.example", "/alone", "alone"},
		{"10.0.0.1:8080", "/alone", "alone"}, // a proxy rewrote Host
		{"a.example", "/alone?x=1", "alone"},
		{"a.example", "/", "root"},
		{"a.example", "/x%2Fy", "escaped"},
		{"a.example", "/x/y", ""},
		{"a.example", "/shared", "a b"},
		{"c.example", "/shared", "a b"},
		{"a.example", "/nothing", ""},
		{"a.example", "/shop", "rewritten"},
		{"a.example", "/hooks/shop", ""},
		{"a.example", "//alone", ""},
		{"a.example", "/./alone", ""},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.target, nil)
		request.Host = test.host
		var got []string
		for _, route := range table.Match(request) {
			got = append(got, route.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s%s: got routes %v, want %q", test.host, test.target, got, test.want)
		}
	}
}
