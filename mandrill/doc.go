// Package mandrill implements the protocol of Mandrill (Mailchimp Transactional): the webhook requests it sends, their
// signatures, the events in them, and the API that manages webhooks and inbound routes.
//
// A webhook request goes through four calls:
//
//	form, err := mandrill.ParseForm(body)                     // the decoded body fields
//	ok := mandrill.Verify(signature, url, form, keys...)      // url exactly as registered
//	events, err := mandrill.SplitBatch(form.Get(mandrill.EventsField))
//	event := mandrill.ParseEvent(events[0])                   // never fails: unrecognised events are KindUnknown
//
// None of them re-serialises anything: the bytes of an event are those that Mandrill sent.
//
// [Client] calls the API. The package imports the standard library only.
package mandrill
