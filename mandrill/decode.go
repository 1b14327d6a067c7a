package mandrill

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// PHP makes no difference between a number and its text, between an empty list, an empty object and nothing, or between a list
// and an object with numbers as names. One value of an unusual type in one webhook must not make the answer for a whole
// account useless, so each field is decoded by itself, and names of fields without a usable value are kept.

// looseFields are the fields of an object that are decoded one by one.
type looseFields struct {
	values     map[string]json.RawMessage
	unreadable []string
}

var errUnusual = errors.New("the value has an unusual type")

// decodeLoosely decodes an object. Null has no fields.
func decodeLoosely(data []byte) (*looseFields, error) {
	fields := &looseFields{}
	return fields, json.Unmarshal(data, &fields.values)
}

// looseField decodes one field. Without a usable value it is the zero value, and unreadable unless it is missing or null.
func looseField[T any](fields *looseFields, name string, decode func(any) (T, error)) T {
	var zero T
	raw, ok := fields.values[name]
	if !ok {
		return zero
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil || value == nil {
		return zero
	}
	decoded, err := decode(value)
	if err != nil {
		fields.unreadable = append(fields.unreadable, name)
		return zero
	}
	return decoded
}

// isNothing reports whether PHP may mean nothing by a value.
func isNothing(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case bool:
		return !value
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

func looseText(value any) (string, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	}
	if isNothing(value) {
		return "", nil
	}
	return "", errUnusual
}

// maxExact is the largest integer up to which a float64 has every integer.
const maxExact = 1 << 53

func looseInteger(value any) (int64, error) {
	switch value := value.(type) {
	case float64:
		if value == math.Trunc(value) && math.Abs(value) <= maxExact {
			return int64(value), nil
		}
	case string:
		if number, err := strconv.ParseInt(value, 10, 64); err == nil {
			return number, nil
		}
	}
	if isNothing(value) {
		return 0, nil
	}
	return 0, errUnusual
}

func looseFlag(value any) (bool, error) {
	switch value := value.(type) {
	case bool:
		return value, nil
	case float64:
		return value != 0, nil
	case string:
		return value != "" && value != "0", nil
	}
	if isNothing(value) {
		return false, nil
	}
	return false, errUnusual
}

// looseTexts decodes a list of texts, or an object with texts in the order of its names.
func looseTexts(value any) ([]string, error) {
	var items []any
	switch value := value.(type) {
	case []any:
		items = value
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			items = append(items, value[name])
		}
	default:
		if isNothing(value) {
			return []string{}, nil
		}
		return nil, errUnusual
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil, errUnusual
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func looseTime(value any) (Time, error) {
	if isNothing(value) {
		return Time{}, nil
	}
	text, ok := value.(string)
	if !ok {
		return Time{}, errUnusual
	}
	return parseTime(text)
}

// zeroDate is what PHP and MySQL make of a date that was never set.
const zeroDate = "0000-00-00 00:00:00"

// parseTime accepts the API's dates, with or without a fraction, the zero date, and RFC 3339.
func parseTime(text string) (Time, error) {
	if text == "" || text == zeroDate {
		return Time{}, nil
	}
	for _, layout := range []string{time.DateTime, time.RFC3339} { // both accept a fraction although they have none
		if parsed, err := time.Parse(layout, text); err == nil {
			return Time{parsed.UTC()}, nil
		}
	}
	return Time{}, errors.New("the date is not of the form " + time.DateTime)
}

// UnmarshalJSON decodes the documented form as a whole, and otherwise each field by itself, which takes more than twice as long. It fails
// only for what is not an object.
func (w *Webhook) UnmarshalJSON(data []byte) error {
	type documented Webhook
	var whole documented
	if err := json.Unmarshal(data, &whole); err == nil && whole.Events != nil {
		*w = Webhook(whole)
		return nil
	}
	fields, err := decodeLoosely(data)
	if err != nil {
		return err
	}
	*w = Webhook{
		ID:          looseField(fields, "id", looseInteger),
		URL:         looseField(fields, "url", looseText),
		Description: looseField(fields, "description", looseText),
		AuthKey:     looseField(fields, "auth_key", looseText),
		Events:      looseField(fields, "events", looseTexts),
		CreatedAt:   looseField(fields, "created_at", looseTime),
		LastSentAt:  looseField(fields, "last_sent_at", looseTime),
		BatchesSent: looseField(fields, "batches_sent", looseInteger),
		EventsSent:  looseField(fields, "events_sent", looseInteger),
		LastError:   looseField(fields, "last_error", looseText),
	}
	w.Unreadable = fields.unreadable
	return nil
}

// UnmarshalJSON decodes each field by itself. It fails only for what is not an object.
func (d *InboundDomain) UnmarshalJSON(data []byte) error {
	fields, err := decodeLoosely(data)
	if err != nil {
		return err
	}
	*d = InboundDomain{
		Domain:    looseField(fields, "domain", looseText),
		CreatedAt: looseField(fields, "created_at", looseTime),
		ValidMX:   looseField(fields, "valid_mx", looseFlag),
	}
	return nil
}

// UnmarshalJSON decodes each field by itself. It fails only for what is not an object.
func (r *InboundRoute) UnmarshalJSON(data []byte) error {
	fields, err := decodeLoosely(data)
	if err != nil {
		return err
	}
	*r = InboundRoute{
		ID:      looseField(fields, "id", looseText),
		Pattern: looseField(fields, "pattern", looseText),
		URL:     looseField(fields, "url", looseText),
	}
	return nil
}
