package sink_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Mapping and encoding an event take few allocations, dataschema included: they decide how many events a receiver sends in a second.
// It is not parallel, because allocations of other tests would count.
func TestAnEventTakesFewAllocations(t *testing.T) {
	target := mapping.Target{Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional", Extensions: map[string]string{"env": "prod"}}
	parsed := mandrill.ParseEvent(mandrilltest.Samples()["send"])
	for mode, most := range map[sink.ContentMode]float64{sink.Binary: 24, sink.Structured: 25} {
		got := testing.AllocsPerRun(100, func() {
			ce := mapping.CloudEvent(target, parsed, "5da35efd459ca4f3fe33db7a826d80a9")
			if _, err := sink.Encode(mode, &ce); err != nil {
				t.Fatal(err)
			}
		})
		if got > most {
			t.Errorf("%s: %v allocations, want at most %v", mode, got, most)
		}
		t.Log(mode, got)
	}
}
