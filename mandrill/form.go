package mandrill

import (
	"bytes"
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
	ErrFilePart     = errors.New("multipart body has a file part")
)

// maxFields bounds the fields of a body. Mandrill sends one. Without a bound a hostile body could force an allocation and a
// comparison for every two bytes.
const maxFields = 64

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

// ParseForm decodes an application/x-www-form-urlencoded body in place: it overwrites body, and the values alias it, so
// that a large body is in memory once. It accepts what [net/url.ParseQuery] accepts except repeated names, and decodes to
// the same bytes. In addition it accepts a semicolon as part of a name or value.
func ParseForm(body []byte) (Form, error) {
	var form Form
	for len(body) > 0 {
		if body[0] == '&' {
			body = body[1:]
			continue
		}
		end := bytes.IndexAny(body, "=&")
		if end < 0 {
			end = len(body)
		}
		name, _, err := unescape(body[:end])
		if err != nil {
			return nil, err
		}
		body = body[end:]
		var value []byte
		if len(body) > 0 && body[0] == '=' {
			if value, body, err = unescape(body[1:]); err != nil {
				return nil, err
			}
		}
		if form, err = form.add(string(name), value); err != nil {
			return nil, err
		}
	}
	return form, nil
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

// unescape decodes + and %XX in place, up to the next &. It returns the decoded bytes and the rest of s. Escapes come in
// runs, and so do other bytes: a loop for each kind of run saves a third of the time.
func unescape(s []byte) (decoded, rest []byte, err error) {
	to, from := 0, 0
	for from < len(s) && s[from] != '&' {
		for from+2 < len(s) && s[from] == '%' {
			c := hexPair[uint16(s[from+1])<<8|uint16(s[from+2])]
			if c == noHex {
				return nil, nil, ErrFormEscape
			}
			s[to] = byte(c) //nolint:gosec // c < noHex
			to++
			from += 3
		}
		if from < len(s) && s[from] == '%' {
			return nil, nil, ErrFormEscape
		}
		n := unplus(s[to:], s[from:])
		to += n
		from += n
	}
	return s[:to], s[from:], nil
}

// unplus copies src to dst up to the next % or &, with + as a space, and returns the number of bytes. The two may overlap if
// dst does not begin after src.
func unplus(dst, src []byte) int {
	dst = dst[:len(src)] // saves a bounds check per byte
	for i, c := range src {
		switch {
		case c > '+': // most bytes
		case c == '+':
			c = ' '
		case c == '%', c == '&':
			return i
		}
		dst[i] = c
	}
	return len(src)
}

// hexDigit maps a byte to its value as a hexadecimal digit, or to 255.
var hexDigit = func() (table [256]byte) {
	for i := range table {
		switch c := byte(i); {
		case '0' <= c && c <= '9':
			table[i] = c - '0'
		case 'a' <= c && c <= 'f':
			table[i] = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			table[i] = c - 'A' + 10
		default:
			table[i] = 255
		}
	}
	return table
}()

// noHex marks a pair of bytes that are not hexadecimal digits.
const noHex = 1 << 8

// hexPair maps two bytes to their value as hexadecimal digits, or to noHex. One lookup is faster than two.
var hexPair = func() (table [1 << 16]uint16) {
	for i := range table {
		high, low := hexDigit[i>>8], hexDigit[i&255]
		if table[i] = uint16(high)<<4 | uint16(low); high|low > 15 {
			table[i] = noHex
		}
	}
	return table
}()
