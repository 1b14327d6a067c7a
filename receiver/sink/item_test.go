package sink_test

import (
	"slices"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// The caller knows when an event is encoded, in each mode: before it is sent.
func TestEncodingIsAnnounced(t *testing.T) {
	t.Parallel()
	for _, mode := range []sink.ContentMode{sink.Binary, sink.Structured, sink.Batched} {
		var steps []string
		poster := posterFunc(func() error { steps = append(steps, "sent"); return nil })
		event := cloudevent.Event{Shared: cloudevent.NewShared("/s", nil), ID: "1", Type: "t"}
		item := &sink.Item{Event: &event, BeforeEncoding: func() func() {
			steps = append(steps, "before")
			return func() { steps = append(steps, "after") }
		}}
		sink.NewSender(sink.Options{Poster: poster}).SendOnce(t.Context(), sink.Delivery{Mode: mode}, []*sink.Item{item})
		if want := []string{"before", "after", "sent"}; !slices.Equal(steps, want) || !item.Settled() {
			t.Errorf("%s: got %v, want %v; the item: %+v", mode, steps, want, item)
		}
	}
}
