package sink_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Parsing, mapping and encoding an event take few allocations, dataschema included: they decide how many events a receiver sends in a
// second. It is not parallel, because allocations of other tests would count.
func TestAnEventTakesFewAllocations(t *testing.T) {
	target := mapping.Target{
		Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional", Extensions: map[string]string{"env": "prod"},
	}.Prepare()
	buffer := make([]byte, 0, 4<<10) // which senders use again
	for name, sample := range mandrilltest.Samples() {
		for mode, most := range map[sink.ContentMode]float64{"": 2, sink.Binary: 2, sink.Structured: 3} { // without a mode: not encoded
			got := testing.AllocsPerRun(100, func() {
				ce := mapping.Map(target, mandrill.ParseEvent(sample), "5da35efd459ca4f3fe33db7a826d80a9")
				if mode != "" {
					sink.Encode(mode, &ce, buffer)
				}
			})
			if got > most {
				t.Errorf("%s, %q: %v allocations, want at most %v", name, mode, got, most)
			}
		}
	}
}
