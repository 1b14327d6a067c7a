// Package mandrilltest emulates Mandrill for tests: the API with its error bodies, the probe of webhook URLs, and a sender
// that batches, signs, retries, blocks and gives up as Mandrill does.
//
//	server := mandrilltest.New(mandrilltest.Options{APIKeys: []string{"key"}})
//	defer server.Close()
//	api := httptest.NewServer(server)          // base URL: api.URL + "/api/1.0"
//	account := server.Account("key")
//	account.Emit("open", "hard_bounce")        // to every webhook that asked for them
//	err := server.Flush(ctx)                   // post now instead of at the next interval
//
// The server also has controls, for tests in any language that use cmd/mandrill-emulator. They take and return JSON, and
// act on the account whose API key is in the field "key", which may be omitted if there is only one account:
//
//	POST /emulator/events            {"kinds": ["open"], "count": 1} → {"events": ["<raw event>", ...]}
//	POST /emulator/flush             {}                              → {}
//	POST /emulator/webhooks          {}                              → the webhooks as webhooks/list has them
//	POST /emulator/reset-key         {"id": 101}                     → {"auth_key": "..."}
//	POST /emulator/send-test         {"id": 101}                     → {"events": [...]}
//
// Where Mandrill's behaviour is not known the emulator is stricter: it refuses fields, types and event names that are not
// documented.
package mandrilltest
