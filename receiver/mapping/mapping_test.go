package mapping_test

import (
	"slices"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

func TestEventIDs(t *testing.T) {
	t.Parallel()
	got := mapping.EventIDs([][]byte{[]byte(`{"event":"open","_id":"a"}`), []byte(`{}`), []byte(`{"event":"open","_id":"a"}`), []byte(`{"event":"open","_id":"a"}`)})
	// printf '%s' '{"event":"open","_id":"a"}' | sha256sum | cut -c1-32
	want := []string{
		"80ccc461c647884e7d7c23e92a6ecd22", "44136fa355b3678a1146ad16f7e8649e", "80ccc461c647884e7d7c23e92a6ecd22-1", "80ccc461c647884e7d7c23e92a6ecd22-2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

// Every type of a sample is in the table, so that its label in metrics is the type itself.
func TestSamplesHaveKnownTypes(t *testing.T) {
	t.Parallel()
	for name, sample := range mandrilltest.Samples() {
		event := mandrill.ParseEvent(sample)
		if ceType, label := mapping.TypeOf(event); ceType != label {
			t.Errorf("%s: type %q has the label %q", name, ceType, label)
		}
	}
}

func TestTypesOfUnknownNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]string{
		`{"event":"tomorrow","_id":"a"}`:       {"com.mandrill.message.tomorrow", "com.mandrill.message.*", "com.mandrill.message.tomorrow"},
		`{"event":"two\nlines","_id":"a"}`:     {"com.mandrill.unknown", "com.mandrill.unknown", "com.mandrill.unknown"},
		`{"type":"allowlist","action":"swap"}`: {"com.mandrill.sync.allowlist.swap", "com.mandrill.sync.*", "com.mandrill.sync.allowlist.swap"},
		`[]`:                                   {"com.mandrill.unknown", "com.mandrill.unknown", "com.mandrill.unknown"},
	} {
		event := mandrill.ParseEvent([]byte(text))
		ceType, label := mapping.TypeOf(event)
		if diff := cmp.Diff(want, [3]string{ceType, label, mapping.DisplayType(event)}); diff != "" {
			t.Errorf("%s: type, label and display type (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzCloudEvent(f *testing.F) {
	for _, sample := range mandrilltest.Samples() {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ce := mapping.CloudEvent("/s", map[string]string{"env": "prod"}, mandrill.ParseEvent(raw), mapping.EventIDs([][]byte{raw})[0])
		if err := ce.Validate(); err != nil {
			t.Fatalf("not a valid CloudEvent: %v", err)
		}
		if !slices.Equal(ce.Data(), raw) {
			t.Error("the data are not the event's bytes")
		}
		for _, value := range []string{ce.Subject(), ce.Type()} {
			if slices.ContainsFunc([]rune(value), unicode.IsControl) {
				t.Errorf("%q has control characters", value)
			}
		}
	})
}
