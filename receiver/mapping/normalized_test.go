package mapping_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

var normalized = mapping.Target{Source: "/s", Extensions: map[string]string{"env": "prod"}, Normalize: true}

// The normal form is what a consumer gets who parses the event and encodes it. Only the data and dataschema differ from those of the raw
// form, and the bytes that the receiver has stored stay as they are.
func TestNormalizedDataAreWhatEventsEncodes(t *testing.T) {
	t.Parallel()
	raw := normalized
	raw.Normalize = false
	for name, sample := range mandrilltest.Samples() {
		before := bytes.Clone(sample)
		got, plain := mapping.CloudEvent(normalized, mandrill.ParseEvent(sample), "id"), mapping.CloudEvent(raw, mandrill.ParseEvent(sample), "id")
		parsed, err := events.ParseData(got.Type(), sample)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got.Data())); diff != "" {
			t.Errorf("%s: data (-want +got):\n%s", name, diff)
		}
		if want := strings.Replace(plain.DataSchema(), "/v1/", "/v1/normalized/", 1); got.DataSchema() != want {
			t.Errorf("%s: schema %s, want %s", name, got.DataSchema(), want)
		}
		if !bytes.Equal(sample, before) || !bytes.Equal(plain.Data(), before) {
			t.Errorf("%s: the event's bytes changed", name)
		}
		got.SetDataSchema("")
		plain.SetDataSchema("")
		if diff := cmp.Diff(plain.Context.String(), got.Context.String()); diff != "" {
			t.Errorf("%s: attributes (-raw +normalized):\n%s", name, diff)
		}
	}
}

// An event without a normal form is sent as Mandrill sent it, and its schema is not that of the normal form.
func TestWhatHasNoNormalFormStaysRaw(t *testing.T) {
	t.Parallel()
	const base = "https://mandrill-operator.io/schemas/v1/"
	for text, want := range map[string]string{
		`[]`:                               base + "com.mandrill.unknown.json",
		`null`:                             base + "com.mandrill.unknown.json",
		`{"event":""}`:                     base + "com.mandrill.unknown.json",
		`{"event":7.5}`:                    base + "com.mandrill.unknown.json",
		`{"event":"open","msg":"x"}`:       base + "com.mandrill.message.open.json",
		`{"event":"open","ts":{}}`:         base + "com.mandrill.message.open.json",
		`{"event":"open","event":"click"}`: base + "com.mandrill.message.click.json",
		`{"type":"whitelist","action":"add","entry":["a"]}`:                              base + "com.mandrill.sync.allowlist.add.json",
		"{\"event\":\"open\",\"msg\":{\"subject\":\"\xff\"}}":                            "",
		`{"event":"open","a":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`: "",
		`{"event":`: "",
	} {
		ce := mapping.CloudEvent(normalized, mandrill.ParseEvent([]byte(text)), "id")
		if text == `{"event":"open","event":"click"}` { // the last one counts, as in most parsers
			want, text = strings.Replace(want, "v1/", "v1/normalized/", 1), `{"event":"click","msg":{"tags":[],"metadata":{},"opens":[],"clicks":[],"smtp_events":[],"resends":[]}}`
		}
		if string(ce.Data()) != text || ce.DataSchema() != want {
			t.Errorf("%.60s is sent as %.60s with the schema %q, want %q", text, ce.Data(), ce.DataSchema(), want)
		}
	}
}

// Types that Mandrill may add have a normal form, too.
func TestNewTypesAreNormalized(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"event":"tomorrow","msg":[]}`:                "com.mandrill.message.json",
		`{"type":"whitelist","action":"swap","_id":1}`: "com.mandrill.sync.json",
	} {
		ce := mapping.CloudEvent(normalized, mandrill.ParseEvent([]byte(text)), "id")
		if ce.DataSchema() != "https://mandrill-operator.io/schemas/v1/normalized/"+want || string(ce.Data()) == text {
			t.Errorf("%s is sent as %s with the schema %s", text, ce.Data(), ce.DataSchema())
		}
	}
}

// BenchmarkPayload compares the forms: the ratio of their times is in docs/performance.md.
func BenchmarkPayload(b *testing.B) {
	for _, name := range []string{"send", "open", "inbound"} {
		parsed := mandrill.ParseEvent(mandrilltest.Samples()[name])
		for form, normalize := range map[string]bool{"raw": false, "normalized": true} {
			target := normalized
			target.Normalize = normalize
			b.Run(name+"/"+form, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mapping.CloudEvent(target, parsed, "5da35efd459ca4f3fe33db7a826d80a9")
				}
			})
		}
	}
}
