package main

import (
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// Kinds of what is counted, in the order of the table's columns.
const (
	callsKind    = "calls"
	probesKind   = "probes"
	requestsKind = "requests"
	statusKind   = "status"
	eventsKind   = "events"
)

var kinds = []string{callsKind, probesKind, requestsKind, statusKind, eventsKind}

type countKey struct{ namespace, kind string }

// counts are numbers by namespace and kind.
type counts struct {
	mu   sync.Mutex
	list map[countKey]int
}

func (c *counts) add(namespace, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[countKey{namespace, kind}]++
}

func (c *counts) snapshot() map[countKey]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.list)
}

var inNamespace = regexp.MustCompile(`/namespaces/([^/]+)/(.*)`)

// countingTransport counts the operator's requests to the API server.
type countingTransport struct {
	next   http.RoundTripper
	counts *counts
}

func (t countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if match := inNamespace.FindStringSubmatch(request.URL.Path); match != nil {
		t.counts.add(match[1], requestsKind)
		switch {
		case strings.HasPrefix(match[2], "events"):
			t.counts.add(match[1], eventsKind)
		case strings.HasSuffix(match[2], "/status"):
			t.counts.add(match[1], statusKind)
		}
	}
	return t.next.RoundTrip(request)
}
