// Package mandrilltest is an emulated Mandrill, for tests of anything that integrates with it: the API with
// its error bodies, the probe of webhook URLs, and a sender that batches, signs, retries, blocks and gives up
// as Mandrill does.
//
//	server := mandrilltest.New(mandrilltest.Options{APIKeys: []string{"key"}})
//	defer server.Close()
//	api := httptest.NewServer(server)          // base URL: api.URL + "/api/1.0"
//	account := server.Account("key")
//	account.Emit("open", "hard_bounce")        // to every webhook that asked for them
//	err := server.Flush(ctx)                   // post now instead of at the next interval
//
// The server also has controls of its own, so that cmd/mandrill-emulator can be used from any language. They take
// and return JSON, and act on the account named by the field "key", on the only one when it is left out:
//
//	POST /emulator/events            {"kinds": ["open"], "count": 1} → {"events": ["<raw event>", ...]}
//	POST /emulator/flush             {}                              → {}
//	POST /emulator/webhooks          {}                              → the webhooks as webhooks/list has them
//	POST /emulator/reset-key         {"id": 101}                     → {"auth_key": "..."}
//	POST /emulator/send-test         {"id": 101}                     → {"events": [...]}
//
// It is stricter than Mandrill where Mandrill's behaviour is not known: fields, types and event names that
// are not documented are refused.
package mandrilltest
