package receiver

import (
	"errors"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// split returns the events of a batch. Odd elements are events too; only a batch that is no array is refused.
func split(form mandrill.Form) ([]mandrill.Event, error) {
	if !form.Has(mandrill.EventsField) {
		return nil, &Error{KindUnreadable, errors.New("the form has no field " + mandrill.EventsField)}
	}
	elements, err := mandrill.SplitBatch(form.Get(mandrill.EventsField))
	if err != nil {
		return nil, &Error{KindUnreadable, err}
	}
	events := make([]mandrill.Event, len(elements))
	for i, element := range elements {
		events[i] = mandrill.ParseEvent(element)
	}
	return events, nil
}
