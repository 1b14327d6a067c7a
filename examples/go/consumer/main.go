// The consumer prints every event as a line of JSON, with the data in their normal form.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/examples/go/receive"
)

type line struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
	Data   any    `json:"data,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	listen := flag.String("listen", ":8080", "address to receive events at")
	flag.Parse()
	var mu sync.Mutex // the receiver sends events of different messages at the same time
	output := json.NewEncoder(os.Stdout)
	keep := func(_ context.Context, ce event.Event) error {
		printed := line{ID: ce.ID(), Source: ce.Source(), Type: ce.Type()}
		parsed, err := events.Parse(ce)
		if err != nil {
			// The same event would fail again. Accept it, and keep it where somebody looks at it.
			printed.Error = err.Error()
		}
		printed.Data = parsed
		if unknown, ok := parsed.(*events.Unknown); ok && !json.Valid(unknown.Data) {
			printed.Data = unknown.Data // is printed as base64
		}
		if bounce, ok := parsed.(*events.HardBounce); ok {
			log.Printf("%q does not exist: %q", bounce.Message.Email, bounce.Message.Diag)
		}
		mu.Lock()
		defer mu.Unlock()
		return output.Encode(printed)
	}
	if err := receive.Serve(*listen, receive.Handler(keep), http.NotFoundHandler()); err != nil {
		log.Fatal(err)
	}
}
