package receiver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// readAll returns the events of a request in any content mode.
func readAll(r *http.Request) ([]cloudevents.Event, error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), cloudevents.ApplicationCloudEventsBatchJSON) {
		event, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			return nil, err
		}
		return []cloudevents.Event{*event}, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var list []cloudevents.Event
	return list, json.Unmarshal(body, &list)
}

// With the payload Normalized a consumer gets the normal form of every event in each content mode, under the id of the raw event. What has
// no normal form comes as Mandrill sent it, and spares the others.
func TestPayloadNormalizedInEachContentMode(t *testing.T) {
	t.Parallel()
	raw := [][]byte{
		[]byte("{\"event\":\"send\",\"_id\":\"odd\",\"s\":\"\xe9\"}"), []byte(`["no event"]`), []byte(`{"event":"open","msg":"new"}`),
		[]byte(`{"event":"open","_id":"twice","msg":[]}`), []byte(`{"event":"open","_id":"twice","msg":[]}`),
	}
	for _, sample := range mandrilltest.Samples() {
		raw = append(raw, sample)
	}
	want := map[string]string{}
	for i, id := range mapping.EventIDs(raw) {
		if want[id] = "raw " + string(raw[i]); i < 3 {
			continue
		}
		normal, err := json.Marshal(parsedEvent(t, raw[i]))
		if err != nil {
			t.Fatal(err)
		}
		want[id] = "normalized " + string(normal)
	}
	for _, mode := range []string{"Binary", "Structured", "Batched"} {
		f := newFixture(t)
		var mu sync.Mutex
		got := map[string]string{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			list, err := readAll(r)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, event := range list {
				form := "raw "
				if strings.Contains(event.DataSchema(), "/normalized/") {
					form = "normalized "
				}
				got[event.ID()] = form + string(event.Data())
			}
		}))
		t.Cleanup(server.Close)
		document := f.document()
		document.Routes[0].Sink.URI, document.Routes[0].Delivery = server.URL, routes.Delivery{ContentMode: mode, Payload: routes.PayloadNormalized}
		f.loadRoutes(t, document)
		if response, body := f.do(t, f.request(t, string(mandrilltest.Batch(raw...)))); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %q", mode, response.StatusCode, body)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: data by id (-want +got):\n%s", mode, diff)
		}
	}
}

// parsedEvent parses an event as a consumer of the raw form does.
func parsedEvent(t *testing.T, raw []byte) any {
	t.Helper()
	ceType, _ := mapping.TypeOf(mandrill.ParseEvent(raw))
	parsed, err := events.ParseData(ceType, raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
