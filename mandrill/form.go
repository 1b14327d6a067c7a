package mandrill

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
)

// EventsField is the only field of the body that Mandrill sends today: a JSON array of events.
const EventsField = "mandrill_events"

// Errors of form decoding. Each of them means that Mandrill did not send the body.
var (
	ErrFormEscape   = errors.New("body has an invalid percent-escape")
	ErrRepeatedName = errors.New("body repeats a field name")
	ErrTooManyNames = errors.New("body has too many fields")
	ErrLongName     = errors.New("body has a long field name")
	ErrFilePart     = errors.New("multipart body has a file part")
)

// maxFields bounds the fields of a body. Mandrill sends one. Without a bound a hostile body could force an allocation and a
// comparison for every two bytes.
const maxFields = 64

// maxName bounds the name of a field: mandrill_events has 15 bytes.
const maxName = 1024

// Field is one decoded field of a form body.
type Field struct {
	Name  string
	Value []byte
}

// Form contains the decoded fields of a webhook request in their order. Names are unique.
type Form []Field

// Get returns the value of the named field, or nil when the form has no such field.
func (f Form) Get(name string) []byte {
	for _, field := range f {
		if field.Name == name {
			return field.Value
		}
	}
	return nil
}

// Has reports whether the form has the named field, even if it is empty.
func (f Form) Has(name string) bool {
	for _, field := range f {
		if field.Name == name {
			return true
		}
	}
	return false
}

// add appends a field. It refuses a repeated name, because the signature would be ambiguous.
func (f Form) add(name string, value []byte) (Form, error) {
	if f.Has(name) {
		return nil, ErrRepeatedName
	}
	if len(f) == maxFields {
		return nil, fmt.Errorf("%w: at most %d are read", ErrTooManyNames, maxFields)
	}
	return append(f, Field{Name: name, Value: value}), nil
}

// ParseForm decodes an application/x-www-form-urlencoded body in place: it overwrites body, and the values alias it. A
// [FormDecoder] does the same while a body arrives.
func ParseForm(body []byte) (Form, error) {
	var decoder FormDecoder
	return decoder.Form(body[:decoder.Decode(body)])
}

// ParseMultipart decodes a multipart/form-data body. Mandrill is not known to send any, but proxies and gateways may
// re-encode forms. All parts must be plain fields, not files.
func ParseMultipart(body io.Reader, boundary string) (Form, error) {
	var form Form
	reader := multipart.NewReader(body, boundary)
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading multipart body: %w", err)
		}
		if part.FileName() != "" {
			return nil, ErrFilePart
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, fmt.Errorf("reading multipart body: %w", err)
		}
		if form, err = form.add(part.FormName(), value); err != nil {
			return nil, err
		}
	}
}
