package receiver

import (
	"errors"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// split returns the elements of a batch, unchanged. Odd elements are events too; only a batch that is not an array, or has more
// elements than Mandrill ever sends, is refused.
func split(form mandrill.Form) ([][]byte, error) {
	if !form.Has(mandrill.EventsField) {
		return nil, &Error{KindUnreadable, errors.New("the form has no field " + mandrill.EventsField)}
	}
	elements, err := mandrill.SplitBatch(form.Get(mandrill.EventsField))
	if errors.Is(err, mandrill.ErrTooManyEvents) {
		return nil, &Error{KindTooLarge, err}
	}
	if err != nil {
		return nil, &Error{KindUnreadable, err}
	}
	return elements, nil
}
