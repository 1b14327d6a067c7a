// Package overview serves the page of all receivers of an installation: the page of a receiver, with the answers of all.
//
// It asks receivers for what their own pages show, and passes on changes to the receiver that has what they change. It has no state of
// its own: each page that is open follows the receivers itself, and is bounded as a receiver's page is. A receiver that cannot be asked is
// named, and the others go on.
package overview

import (
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
)

// Receiver is a receiver of the installation.
type Receiver struct {
	Name    string
	Buffer  string       // receivers with the same one share it; empty in Direct mode
	Client  *http.Client // leads to its page, whatever the URL; nil if it cannot be reached
	Problem string       // why it cannot be reached
}

// Options configures [New]. Receivers is required.
type Options struct {
	Receivers func() []Receiver // of the moment, sorted by name
	Version   string            // of this program
	Logger    *slog.Logger
	Now       func() time.Time // default time.Now
}

// overview serves the page and what its script asks for.
type overview struct {
	options Options
	streams chan struct{} // one element for each
}

// New returns the handler of the page.
func New(options Options) http.Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	o := &overview{options: options, streams: make(chan struct{}, site.MaxStreams)}
	mux := http.NewServeMux()
	mux.Handle("GET /", site.Files())
	mux.HandleFunc("GET /api/stream", o.serveStream)
	mux.HandleFunc("GET /api/events", o.serveEvents)
	mux.HandleFunc("GET /api/dead-letters", o.serveList("dead-letters", "deadLetters"))
	mux.HandleFunc("GET /api/backlog", o.serveList("backlog", "batches"))
	mux.HandleFunc("POST /api/dead-letters/redrive", o.serveChange)
	mux.HandleFunc("POST /api/dead-letters/purge", o.serveChange)
	return site.Guard(mux, nil, options.Logger)
}

// withBuffers returns the receivers by the buffer that they share, in the order of their names.
func withBuffers(receivers []Receiver) [][]Receiver {
	return grouped(receivers, func(receiver Receiver) string { return receiver.Buffer })
}

// grouped divides a list by a key, in the order of the list. What has an empty key is left out.
func grouped[T any](list []T, key func(T) string) (groups [][]T) {
	at := map[string]int{}
	for _, each := range list {
		k := key(each)
		if k == "" {
			continue
		}
		i, known := at[k]
		if !known {
			i = len(groups)
			at[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], each)
	}
	return groups
}

// holders returns the receivers that have the buffer of one, that one first.
func holders(receivers []Receiver, name string) []Receiver {
	at := slices.IndexFunc(receivers, func(r Receiver) bool { return r.Name == name })
	if at < 0 {
		return nil
	}
	found := []Receiver{receivers[at]}
	for i, other := range receivers {
		if i != at && other.Buffer != "" && other.Buffer == receivers[at].Buffer {
			found = append(found, other)
		}
	}
	return found
}
