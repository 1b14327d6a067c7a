package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	apiPrefix = "/api/1.0"
	callList  = "webhooks/list"
)

// call is an API call of one account.
type call struct{ key, name string }

type calls map[call]int

// callCounter counts API calls on their way to the emulated Mandrill.
type callCounter struct {
	next  http.Handler
	mu    sync.Mutex
	calls calls
}

func (c *callCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var request struct{ Key string }
	_ = json.Unmarshal(body, &request) // the emulator refuses a body that is not JSON
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, apiPrefix+"/"), ".json")
	c.mu.Lock()
	c.calls[call{request.Key, name}]++
	c.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.next.ServeHTTP(w, r)
}

func (c *callCounter) snapshot() calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.calls)
}

// since returns the calls made after a snapshot.
func (c *callCounter) since(before calls) calls {
	made := c.snapshot()
	for kind, count := range before {
		if made[kind] -= count; made[kind] == 0 {
			delete(made, kind)
		}
	}
	return made
}

// byName sums the calls of all accounts.
func (c calls) byName() map[string]int {
	sums := map[string]int{}
	for kind, count := range c {
		sums[kind.name] += count
	}
	return sums
}

// except returns the names of all other calls.
func (c calls) except(expected string) []string {
	sums := c.byName()
	delete(sums, expected)
	return slices.Sorted(maps.Keys(sums))
}

// String formats the calls like "5 webhooks/list".
func (c calls) String() string {
	sums := c.byName()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		parts = append(parts, fmt.Sprintf("%d %s", sums[name], name))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
