// Package mandrill is what Mandrill (Mailchimp Transactional) says: the webhook requests it sends,
// how they are signed, the events in them, and the API that manages webhooks and inbound routes.
//
// A webhook request goes through four calls:
//
//	form, err := mandrill.ParseForm(body)                     // the decoded body fields
//	ok := mandrill.Verify(signature, url, form, keys...)      // url exactly as registered
//	events, err := mandrill.SplitBatch(form.Get(mandrill.EventsField))
//	event := mandrill.ParseEvent(events[0])                   // never fails: odd events are KindUnknown
//
// None of them re-serialises anything: the bytes of an event are the bytes Mandrill sent.
//
// [Client] calls the API. The package imports the standard library only.
package mandrill
