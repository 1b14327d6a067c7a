package mandrilltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Message is what an event is about. Fields without a value are those of the sample.
type Message struct {
	ID         string         `json:"_id"`
	Email      string         `json:"email"` // of the recipient, of the entry of a list, or that received mail
	Subject    string         `json:"subject"`
	Sender     string         `json:"sender"`
	Tags       []string       `json:"tags"`
	Metadata   map[string]any `json:"metadata"`
	Subaccount string         `json:"subaccount"`
	Template   string         `json:"template"`
}

func (m Message) isZero() bool {
	return m.ID+m.Email+m.Subject+m.Sender+m.Subaccount+m.Template == "" && m.Tags == nil && m.Metadata == nil
}

// sample decodes a sample.
func sample(name string) map[string]any {
	return decodeObject(readSample(name))
}

func decodeObject(data []byte) map[string]any {
	var event map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&event); err != nil {
		panic(err) // samples are objects, which a test says
	}
	return event
}

// encodePHP encodes what was decoded as PHP does.
func encodePHP(event map[string]any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event); err != nil {
		panic(err) // it was JSON
	}
	return phpJSON(out.Bytes())
}

// apply changes an event so that it is about the message.
func (m Message) apply(event []byte) []byte {
	if m.isZero() {
		return event
	}
	decoded := decodeObject(event)
	for _, entry := range []string{"reject", "entry"} {
		if entry, ok := decoded[entry].(map[string]any); ok && m.Email != "" {
			entry["email"] = m.Email
		}
	}
	body, ok := decoded["msg"].(map[string]any)
	if !ok {
		return encodePHP(decoded)
	}
	for name, value := range map[string]string{"email": m.Email, "subject": m.Subject, "sender": m.Sender, "subaccount": m.Subaccount, "template": m.Template} {
		if value != "" {
			body[name] = value
		}
	}
	if m.ID != "" && body["_id"] != nil {
		body["_id"], decoded["_id"] = m.ID, m.ID
	}
	if m.Tags != nil {
		body["tags"] = m.Tags
	}
	if body["metadata"] != nil && m.Metadata != nil {
		if body["metadata"] = m.Metadata; len(m.Metadata) == 0 {
			body["metadata"] = []any{}
		}
	}
	return encodePHP(decoded)
}

// Inject queues an event byte for byte, valid or not: for one webhook, or, if id is 0, for those that subscribe to it. What has the name of
// no event goes to all webhooks, and inbound mail to the inbound routes. It returns how many get it.
func (a *Account) Inject(id int64, event []byte) (int, error) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if id != 0 {
		w, err := a.webhook(id)
		if err != nil {
			return 0, err
		}
		a.enqueue(w.url, w, event)
		return 1, nil
	}
	if name := subscriptionOf(event); name != "*" {
		return a.publish(name, event), nil
	}
	for _, w := range a.webhooks {
		a.enqueue(w.url, w, event)
	}
	return len(a.webhooks), nil
}

// subscriptionOf returns what a webhook must subscribe to for an event: nothing for inbound mail, and * for what has no known name.
func subscriptionOf(event []byte) string {
	parsed := mandrill.ParseEvent(event)
	name := parsed.Name
	if parsed.Kind == mandrill.KindInbound {
		return ""
	}
	if parsed.Kind == mandrill.KindSync {
		name = mandrill.WireName(name)
	}
	if slices.Contains(wireEvents, name) {
		return name
	}
	return "*"
}

// rawEvent is the event of a control: any JSON, a text that need not be JSON, bytes in base64, or a sample.
type rawEvent struct {
	Event  json.RawMessage `json:"event"`
	Text   string          `json:"text"`
	Base64 []byte          `json:"base64"`
	Sample string          `json:"sample"`
}

// bytes returns the event.
func (e rawEvent) bytes() ([]byte, error) {
	given := 0
	for _, has := range []bool{e.Event != nil, e.Text != "", e.Base64 != nil, e.Sample != ""} {
		if has {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("give one of event, text, base64 and sample")
	}
	switch {
	case e.Event != nil:
		return e.Event, nil
	case e.Text != "":
		return []byte(e.Text), nil
	case e.Base64 != nil:
		return e.Base64, nil
	}
	data, ok := Samples()[e.Sample]
	if !ok {
		return nil, fmt.Errorf("no sample is named %q; there are %s", e.Sample, strings.Join(slices.Sorted(maps.Keys(Samples())), ", "))
	}
	return phpJSON(data), nil
}
