package routing

import (
	"net/http"
	"net/url"
	"strings"
)

// Nearness says how the path of a request differs from that of a webhook, which shows what a proxy did to it.
type Nearness int

// The ways in which a path may differ from one that is served.
const (
	NotNear   Nearness = iota
	Stripped           // it is the end of a served path
	Prefixed           // it ends with a served path
	Respelled          // it differs in capitals, escapes or slashes
)

// Near is a path that is not served and close to one that is.
type Near struct {
	How     Nearness
	Webhook string
	Path    string // the part that both have, in lower case and without escapes
}

const (
	// maxSegments bounds the parts of a path that are compared.
	maxSegments = 16
	// maxPath bounds the paths that are compared: anybody can send long ones.
	maxPath = 2048
)

// nearIndex finds routes by their path, and by the ends of it, in a common spelling.
type nearIndex struct {
	whole map[string]string // webhooks by path
	ends  map[string]string // webhooks by the end of their path
}

func (n *nearIndex) add(path, webhook string) {
	path = spell(path)
	if path == "" {
		return
	}
	if n.whole == nil {
		n.whole, n.ends = map[string]string{}, map[string]string{}
	}
	n.whole[path] = webhook
	for end := range endsOf(path) {
		n.ends[end] = webhook
	}
}

func (n *nearIndex) find(path string) Near {
	if webhook, ok := n.whole[path]; ok {
		return Near{Respelled, webhook, path}
	}
	if webhook, ok := n.ends[path]; ok {
		return Near{Stripped, webhook, path}
	}
	for end := range endsOf(path) {
		if webhook, ok := n.whole[end]; ok {
			return Near{Prefixed, webhook, end}
		}
	}
	return Near{}
}

// endsOf yields the ends of a path that begin at a slash, without the path itself, longest first.
func endsOf(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for range maxSegments {
			slash := strings.IndexByte(path[min(1, len(path)):], '/')
			if slash < 0 {
				return
			}
			path = path[slash+1:]
			if !yield(path) {
				return
			}
		}
	}
}

// spell returns a path in lower case, without escapes, repeated slashes and a slash at its end.
func spell(path string) string {
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return strings.TrimSuffix(strings.ToLower(path), "/")
}

// Near returns the served path that is closest to the path of a request, which has no route.
func (r *Routes) Near(request *http.Request) Near {
	tables, path := r.current.Load(), pathOf(request.URL)
	if tables == nil || len(path) > maxPath {
		return Near{}
	}
	if path = spell(path); path == "" {
		return Near{}
	}
	for _, table := range *tables {
		if near := table.near.find(path); near.How != NotNear {
			return near
		}
	}
	return Near{}
}
