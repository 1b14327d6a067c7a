package mandrill_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// A probe has the size that was asked for, and nothing that Mandrill sends is taken for one.
func TestProbeBatch(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 5 << 20} {
		batch := mandrill.ProbeBatch(size)
		events, err := mandrill.SplitBatch(batch)
		if err != nil || !mandrill.IsProbe(events) || size > 0 && len(batch) != size {
			t.Errorf("%d bytes: got %d, %v", size, len(batch), err)
		}
	}
	probe, err := mandrill.SplitBatch(mandrill.ProbeBatch(0))
	if err != nil {
		t.Fatal(err)
	}
	for name, events := range map[string][][]byte{
		"nothing": nil, "an event": {[]byte(`{"event":"send"}`)}, "two probes": {probe[0], probe[0]}, "a probe and an event": {probe[0], []byte(`{"event":"send"}`)},
	} {
		if mandrill.IsProbe(events) {
			t.Errorf("%s is taken for a probe", name)
		}
	}
}
