package cloudevent

import (
	"bytes"
	"net/http"
	"strings"
)

// fieldNames are the header fields of attributes that most events have. Others are named like them.
var fieldNames = map[string]string{
	"partitionkey": "Ce-Partitionkey", "recipientdomain": "Ce-Recipientdomain", "subaccount": "Ce-Subaccount", "template": "Ce-Template", "tag": "Ce-Tag",
	"traceparent": "Ce-Traceparent", "tracestate": "Ce-Tracestate",
}

func fieldName(attribute string) string {
	if known, ok := fieldNames[attribute]; ok {
		return known
	}
	return http.CanonicalHeaderKey("Ce-" + attribute)
}

// AppendFields appends the header fields of the event in binary mode, the content type among them, as lines of HTTP/1.1.
func (e *Event) AppendFields(to []byte) []byte {
	to = append(to, e.Shared.fields...)
	to = appendField(to, "Content-Type", e.ContentType)
	to = appendField(to, "Ce-Id", e.ID)
	to = appendField(to, "Ce-Type", e.Type)
	to = appendField(to, "Ce-Subject", e.Subject)
	to = appendField(to, "Ce-Dataschema", e.DataSchema)
	if !e.Time.IsZero() {
		to = appendTime(append(to, "Ce-Time: "...), e.Time)
		to = append(to, "\r\n"...)
	}
	for _, extension := range e.Extensions {
		to = appendField(to, fieldName(extension.Name), extension.Value)
	}
	return e.AppendTrace(to)
}

// AppendTrace appends the fields with the trace context of the event, for consumers that do not read the extensions.
func (e *Event) AppendTrace(to []byte) []byte {
	parent := e.Extension("traceparent")
	if !isTraceparent(parent) {
		return to
	}
	to = append(append(append(to, "Traceparent: "...), parent...), "\r\n"...)
	if state := e.Extension("tracestate"); state != "" && !strings.ContainsFunc(state, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		to = append(append(append(to, "Tracestate: "...), state...), "\r\n"...)
	}
	return to
}

// isTraceparent reports whether a text is a traceparent: 2, 32, 16 and 2 hexadecimal digits.
func isTraceparent(text string) bool {
	const length, first, second, third = 55, 2, 35, 52
	if len(text) != length || text[first] != '-' || text[second] != '-' || text[third] != '-' {
		return false
	}
	for i, c := range []byte(text) {
		if digit := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'; !digit && i != first && i != second && i != third {
			return false
		}
	}
	return true
}

// appendField appends a field, unless its value is empty. The value is percent-encoded, as the HTTP binding demands: everything outside of
// printable ASCII, quotes and percent signs. Spaces stay, because the SDK, and with it Knative, does not decode them.
func appendField(to []byte, name, value string) []byte {
	if value == "" {
		return to
	}
	to = append(append(to, name...), ": "...)
	start := 0
	for i := range len(value) {
		if plain[value[i]] {
			continue
		}
		const hex = "0123456789ABCDEF"
		to = append(append(to, value[start:i]...), '%', hex[value[i]>>4], hex[value[i]&15])
		start = i + 1
	}
	return append(append(to, value[start:]...), "\r\n"...)
}

// plain has the bytes of attributes that a field has as they are.
var plain = func() (table [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		table[c] = c != '"' && c != '%'
	}
	return table
}()

// Header returns fields that were appended as a header.
func Header(fields []byte) http.Header {
	header := make(http.Header, bytes.Count(fields, []byte("\r\n")))
	for line := range strings.SplitSeq(string(fields), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			header[name] = append(header[name], value)
		}
	}
	return header
}
