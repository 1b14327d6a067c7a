package mapping_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

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

// Consumers refuse JSON that is not UTF-8, and in Batched mode all events of the request with it.
func TestOnlyUTF8IsCalledJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"event":"send","_id":"a","s":"\u00e9"}`:                "application/json",
		`{"event":"send","_id":"a","s":"é"}`:                     "application/json",
		"{\"event\":\"send\",\"_id\":\"a\",\"s\":\"\xe9\"}":      "application/octet-stream",
		"{\"event\":\"inbound\",\"msg\":{\"raw_msg\":\"\xe9\"}}": "application/octet-stream",
		"{\"type\":\"allowlist\",\"action\":\"\xff\"}":           "application/octet-stream",
		"\"\xff\"":      "application/octet-stream",
		`{"event":`:     "application/octet-stream",
		"\ufeff{}":      "application/octet-stream",
		`["no name"]`:   "application/json",
		`{"event":"x"}`: "application/json",
	} {
		ce := mapping.CloudEvent(mapping.Target{Source: "/s"}, mandrill.ParseEvent([]byte(text)), "id")
		if ce.DataContentType() != want || ce.DataBase64 != (want != "application/json") || string(ce.Data()) != text {
			t.Errorf("%q: content type %s, base64 %t, want %s", text, ce.DataContentType(), ce.DataBase64, want)
		}
	}
}

// Parsers bound the depth of JSON, and refuse a batch for one event that is deeper.
func TestDeeplyNestedJSONIsNotCalledJSON(t *testing.T) {
	t.Parallel()
	nested := func(levels int) string { // the object is one of them
		return `{"event":"send","a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	for text, want := range map[string]string{
		nested(60): "application/json", nested(61): "application/octet-stream", nested(20_000): "application/octet-stream",
		`{"event":"send","a":"` + strings.Repeat("[", 100) + `"}`:                  "application/json",
		`{"event":"send","a":"\"` + strings.Repeat("{", 100) + `"}`:                "application/json",
		`{"event":"send","a":[` + strings.Repeat(`{},`, 100) + `{}]}`:              "application/json",
		`{"event":"send","a":[` + strings.Repeat(`"\\",`, 100) + nested(60) + `]}`: "application/octet-stream",
	} {
		if ce := mapping.CloudEvent(mapping.Target{Source: "/s"}, mandrill.ParseEvent([]byte(text)), "id"); ce.DataContentType() != want || ce.Type() != "com.mandrill.message.send" {
			t.Errorf("%.60s: %s %s, want %s", text, ce.Type(), ce.DataContentType(), want)
		}
	}
}

// HTTP takes spaces off the ends of headers: filters must see the same attributes in all content modes.
func TestAttributesHaveNoSpacesAtTheirEnds(t *testing.T) {
	t.Parallel()
	const text = `{"event":"send","_id":" a ","msg":{"email":"x@shop.example","tags":[" leading"],"template":"two words ","subaccount":"  "}}`
	ce := mapping.CloudEvent(mapping.Target{Source: "/s", Extensions: map[string]string{"env": " prod ", "blank": " ", "broken": "a\nb"}}, mandrill.ParseEvent([]byte(text)), "id")
	want := map[string]any{"partitionkey": "a", "tag": "leading", "template": "two words", "recipientdomain": "shop.example", "env": "prod"}
	if diff := cmp.Diff(want, ce.Extensions()); diff != "" || ce.Subject() != "a" {
		t.Errorf("subject %q, extensions (-want +got):\n%s", ce.Subject(), diff)
	}
}

// What must arrive in order has the same key: for the receiver, and for the partitions of a log that a consumer writes it into.
func TestWhatIsOrderedHasAPartitionKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"event":"open","_id":"A","msg":{"email":"x@shop.example"}}`:                       "A",
		`{"event":"open","msg":{"_id":"b"}}`:                                                "b",
		`{"event":"open","msg":{"email":"x@shop.example"}}`:                                 "",
		`{"type":"blacklist","action":"add","reject":{"email":"X@Shop.example"},"_id":"a"}`: "x@shop.example",
		`{"type":"blacklist","action":"remove","reject":{"email":"x@shop.example"}}`:        "x@shop.example",
		`{"type":"whitelist","action":"add","entry":{"email":"x@shop.example"}}`:            "x@shop.example",
		`{"type":"whitelist","action":"add"}`:                                               "",
		`{"event":"inbound","msg":{"email":"Help@in.shop.example","from_email":"x@y"}}`:     "help@in.shop.example",
		`{"event":"inbound"}`: "",
		`[]`:                  "",
	} {
		parsed := mandrill.ParseEvent([]byte(text))
		ce := mapping.CloudEvent(mapping.Target{Source: "/s"}, parsed, "id")
		if got, _ := ce.Extensions()["partitionkey"].(string); got != want || mapping.OrderKey(parsed) != want {
			t.Errorf("%s: got %q and %q, want %q", text, got, mapping.OrderKey(parsed), want)
		}
	}
}

// Every event has the URL of the schema of its type. Bytes that are not JSON have none, because no schema describes them.
func TestDataSchemaIsThatOfTheType(t *testing.T) {
	t.Parallel()
	const base = "https://mandrill-operator.io/schemas/v1/"
	for text, want := range map[string]string{
		`{"event":"open"}`:                     base + "com.mandrill.message.open.json",
		`{"event":"tomorrow"}`:                 base + "com.mandrill.message.json",
		`{"type":"whitelist","action":"add"}`:  base + "com.mandrill.sync.allowlist.add.json",
		`{"type":"whitelist","action":"swap"}`: base + "com.mandrill.sync.json",
		`{"event":"inbound"}`:                  base + "com.mandrill.inbound.json",
		`[]`:                                   base + "com.mandrill.unknown.json",
		"{\"event\":\"open\",\"ip\":\"\xff\"}": "",
		`{`:                                    "",
	} {
		parsed := mandrill.ParseEvent([]byte(text))
		if ce := mapping.CloudEvent(mapping.Target{Source: "/s"}, parsed, "id"); ce.DataSchema() != want {
			t.Errorf("%s: got %s, want %s", text, ce.DataSchema(), want)
		}
		if ce := mapping.CloudEvent(mapping.Target{Source: "/s", OmitSchema: true}, parsed, "id"); ce.DataSchema() != "" {
			t.Errorf("%s: got %s, want none", text, ce.DataSchema())
		}
	}
}

func TestRecipientDomainFollowsTheLastAt(t *testing.T) {
	t.Parallel()
	for email, want := range map[string]any{
		"a@Shop.example": "shop.example", `\"a@b\"@example.com`: "example.com", "a@b@c.example": "c.example", "a@": nil, "nobody": nil, "": nil,
	} {
		ce := mapping.CloudEvent(mapping.Target{Source: "/s"}, mandrill.ParseEvent([]byte(`{"event":"send","msg":{"email":"`+email+`"}}`)), "id")
		if got := ce.Extensions()["recipientdomain"]; got != want {
			t.Errorf("%s: got %v, want %v", email, got, want)
		}
	}
}

func FuzzCloudEvent(f *testing.F) {
	for _, sample := range mandrilltest.Samples() {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ce := mapping.CloudEvent(mapping.Target{Source: "/s", Extensions: map[string]string{"env": "prod"}}, mandrill.ParseEvent(raw), mapping.EventIDs([][]byte{raw})[0])
		if err := ce.Validate(); err != nil {
			t.Fatalf("not a valid CloudEvent: %v", err)
		}
		if !slices.Equal(ce.Data(), raw) {
			t.Error("the data are not the event's bytes")
		}
		if ce.DataContentType() == "application/json" && !utf8.Valid(raw) {
			t.Errorf("%q is called JSON", raw)
		}
		for _, value := range []string{ce.Subject(), ce.Type()} {
			if slices.ContainsFunc([]rune(value), unicode.IsControl) {
				t.Errorf("%q has control characters", value)
			}
		}
	})
}
