// Package mandrilltest emulates Mandrill for tests: the API with its error bodies, the probe of webhook URLs, what happens to messages
// that are sent, and a sender that batches, signs, retries, blocks and gives up as Mandrill does. docs/emulator.md describes it for
// tests in any language, which use cmd/mandrill-emulator. In Go:
//
//	mail, baseURL := mandrilltest.Start(t, mandrilltest.Options{})
//	hook, err := mail.AddWebhook(t.Context(), consumer.URL, "open", "hard_bounce")
//	_, err = mail.Emit("open")               // or messages/send at baseURL
//	err = mail.Finish(t.Context())           // all events are posted, signed with hook.AuthKey
//	posted := mail.Deliveries()
//
// Where Mandrill's behaviour is not known the emulator is stricter: it refuses fields, types and event names that are not
// documented.
package mandrilltest
