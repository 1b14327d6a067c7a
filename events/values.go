package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Extra are the fields of an object that this package does not know, by name, as they were sent. They are encoded after the others.
type Extra map[string]json.RawMessage

// List is a list whose elements have no documented form.
type List []json.RawMessage

// Metadata are the names and values that a message was sent with. Values are string or [json.Number]; others are as [encoding/json]
// decodes them.
type Metadata map[string]any

// Text returns a value as text: that of a string, or the digits of a number. It is empty for anything else.
func (m Metadata) Text(name string) string {
	switch value := m[name].(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

// Headers are the headers of a mail by name, with all their values from top to bottom.
type Headers map[string][]string

// Get returns the first value of a header, or an empty string. Upper and lower case of the name do not matter.
func (h Headers) Get(name string) string {
	for each, values := range h {
		if strings.EqualFold(each, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// Address is an address of a mail. In JSON it is a pair of address and name.
type Address struct {
	Email string
	Name  string // empty: none
}

// MarshalJSON encodes the address as a pair.
func (a Address) MarshalJSON() ([]byte, error) { return json.Marshal([2]string{a.Email, a.Name}) }

// UnmarshalJSON decodes a pair, an address without a name, or a list with the address alone.
func (a *Address) UnmarshalJSON(data []byte) (err error) {
	if !json.Valid(data) {
		return errInvalid
	}
	*a, err = address(bytes.TrimSpace(data))
	return err
}

// Date is a date as Mandrill writes it: "2006-01-02 15:04:05", in UTC.
type Date string

// Time returns the date in UTC, or the zero time if it is not one, such as 0000-00-00 00:00:00.
func (d Date) Time() time.Time {
	at, err := time.Parse(time.DateTime, string(d)) // accepts a fraction although the layout has none
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// Timestamp is a time that Mandrill writes as seconds since 1970. The zero value is none.
type Timestamp struct{ time.Time }

// lastSecond is 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
const lastSecond = 253402300799

// MarshalJSON encodes the seconds since 1970, with a fraction if there is one. The zero value is null.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	if micro := t.UnixMicro(); micro%1e6 != 0 {
		return bytes.TrimRight(fmt.Appendf(nil, "%d.%06d", micro/1e6, micro%1e6), "0"), nil
	}
	return strconv.AppendInt(nil, t.Unix(), 10), nil
}

// UnmarshalJSON decodes a number, or the same as a string. Another string, and what is not between 1970 and 9999, is the zero value.
func (t *Timestamp) UnmarshalJSON(data []byte) error {
	text, err := scalar(data)
	if err != nil {
		return err
	}
	*t = Timestamp{}
	if seconds, ok := finite(text); ok && seconds > 0 && seconds <= lastSecond {
		whole, fraction := math.Modf(seconds)
		t.Time = time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1e3).UTC()
	}
	return nil
}
