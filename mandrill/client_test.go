package mandrill_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const secretKey = "md-s3cr3t-sentinel"

func newClient(tb testing.TB, handler http.Handler) *mandrill.Client {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	client, err := mandrill.NewClient(mandrill.ClientOptions{Key: secretKey, BaseURL: server.URL + "/api/1.0/", HTTPClient: server.Client()})
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		status    int
		body      string
		want      error
		temporary bool
		text      string
	}{
		{"invalid key, 401", 401, `{"status":"error","code":-1,"name":"Invalid_Key","message":"Invalid API key"}`, mandrill.ErrInvalidKey, false, "users/ping: Invalid_Key: Invalid API key"},
		{"invalid key, 500", 500, `{"status":"error","code":-1,"name":"Invalid_Key","message":"Invalid API key"}`, mandrill.ErrInvalidKey, false, "Invalid_Key"},
		{"validation, 400", 400, `{"status":"error","code":-2,"name":"ValidationError","message":"Validation error: {\"url\":\"no\"}"}`, mandrill.ErrValidation, false, `{"url":"no"}`},
		{"validation, 500", 500, `{"status":"error","code":-2,"name":"ValidationError","message":"x"}`, mandrill.ErrValidation, false, "ValidationError"},
		{"unavailable, with validation's code", 503, `{"status":"error","code":-2,"name":"ServiceUnavailable","message":"x"}`, mandrill.ErrServiceUnavailable, true, "ServiceUnavailable"},
		{"unknown webhook", 404, `{"status":"error","code":3,"name":"Unknown_Webhook","message":"x"}`, mandrill.ErrUnknownWebhook, false, "Unknown_Webhook"},
		{"unknown domain", 404, `{"status":"error","code":8,"name":"Unknown_InboundDomain","message":"x"}`, mandrill.ErrUnknownInboundDomain, false, ""},
		{"unknown route", 404, `{"status":"error","code":22,"name":"Unknown_InboundRoute","message":"x"}`, mandrill.ErrUnknownInboundRoute, false, ""},
		{"payment", 402, `{"status":"error","code":10,"name":"PaymentRequired","message":"x"}`, mandrill.ErrPaymentRequired, false, ""},
		{"limit", 429, `{"status":"error","code":429,"name":"RequestLimitExceeded","message":"x"}`, mandrill.ErrRequestLimit, true, ""},
		{"general", 500, `{"status":"error","code":-100,"name":"GeneralError","message":"x"}`, mandrill.ErrGeneral, true, ""},
		{"an unknown name", 500, `{"status":"error","code":1,"name":"Brand_New","message":"x"}`, nil, false, "Brand_New: x"},
		{"a proxy's 502", 502, `<html>`, nil, true, "HTTP status 502"},
		{"a proxy's 403", 403, `<html>`, nil, false, "HTTP status 403"},
		{"a proxy's 429", 429, ``, nil, true, "HTTP status 429"},
		{"a redirect", 302, ``, nil, false, "HTTP status 302"},
		{"200 with another body", 200, `<html>`, nil, true, "decoding the answer"},
		{"200 with another word", 200, `"PANG!"`, nil, false, "users/ping"},
		{"key echoed", 400, `{"status":"error","code":-2,"name":"ValidationError","message":"bad ` + secretKey + `"}`, mandrill.ErrValidation, false, "bad [redacted]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			err := client.Ping(t.Context())
			if err == nil {
				t.Fatal("got no error")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %q is not %v", err, test.want)
			}
			if errors.Is(err, mandrill.ErrGeneral) && test.want != mandrill.ErrGeneral { //nolint:errorlint // the sentinel itself
				t.Errorf("error %q matches a sentinel of another name", err)
			}
			if got := mandrill.Temporary(fmt.Errorf("wrapped: %w", err)); got != test.temporary {
				t.Errorf("Temporary(%v) = %t, want %t", err, got, test.temporary)
			}
			if !strings.Contains(err.Error(), test.text) || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secretKey) {
				t.Errorf("error is %q, want %q in it and not the key", err, test.text)
			}
		})
	}
}

func TestClientTransportErrors(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := mandrill.NewClient(mandrill.ClientOptions{Key: secretKey, BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Webhooks(t.Context())
	var transport *mandrill.TransportError
	if !errors.As(err, &transport) || !mandrill.Temporary(err) || strings.Contains(err.Error(), secretKey) {
		t.Errorf("got %v, want a temporary transport error without the key", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if mandrill.Temporary(errors.New("x")) || mandrill.Temporary(nil) {
		t.Error("an error of another make is temporary")
	}
	if got := fmt.Sprintf("%v %+v %#v", client, client, client); strings.Contains(got, secretKey) {
		t.Errorf("printing the client shows the key: %s", got)
	}
	// A key that is part of a name does not change the kind of error.
	emulator := httptest.NewServer(mandrilltest.New(mandrilltest.Options{}))
	t.Cleanup(emulator.Close)
	short, err := mandrill.NewClient(mandrill.ClientOptions{Key: "a", BaseURL: emulator.URL + "/api/1.0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := short.Ping(t.Context()); !errors.Is(err, mandrill.ErrInvalidKey) {
		t.Errorf("with a short key: %v", err)
	}
	if _, err := mandrill.NewClient(mandrill.ClientOptions{}); err == nil {
		t.Error("a client without a key was made")
	}
}

// Makes every call to the emulated Mandrill.
func TestClientCalls(t *testing.T) {
	t.Parallel()
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	emulator := mandrilltest.New(mandrilltest.Options{APIKeys: []string{secretKey}, BatchInterval: time.Hour})
	t.Cleanup(emulator.Close)
	client := newClient(t, emulator)
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("ping", client.Ping(ctx))
	list, err := client.Webhooks(ctx)
	must("empty list", err)
	if len(list) != 0 {
		t.Fatalf("a new account has webhooks: %v", list)
	}
	added, err := client.AddWebhook(ctx, mandrill.WebhookSpec{URL: hook.URL + "/a", Description: "d", Events: []string{"open", "send"}})
	must("add", err)
	if added.ID == 0 || len(added.AuthKey) != 22 || added.URL != hook.URL+"/a" || added.Description != "d" ||
		len(added.Events) != 2 || added.CreatedAt.IsZero() || !added.LastSentAt.IsZero() {
		t.Fatalf("added webhook is %+v", added)
	}
	info, err := client.Webhook(ctx, added.ID)
	must("info", err)
	updated, err := client.UpdateWebhook(ctx, added.ID, mandrill.WebhookSpec{URL: hook.URL + "/b", Events: nil})
	must("update", err)
	if info.AuthKey != added.AuthKey || updated.URL != hook.URL+"/b" || updated.Description != "" || len(updated.Events) != 0 {
		t.Errorf("info %+v, updated %+v", info, updated)
	}
	_, err = client.DeleteWebhook(ctx, added.ID)
	must("delete", err)
	if _, err := client.DeleteWebhook(ctx, added.ID); !errors.Is(err, mandrill.ErrUnknownWebhook) {
		t.Errorf("second delete: %v", err)
	}
	domain, err := client.AddInboundDomain(ctx, "in.shop.example")
	must("add domain", err)
	if domain.Domain != "in.shop.example" || domain.ValidMX || domain.CreatedAt.IsZero() {
		t.Errorf("domain is %+v", domain)
	}
	emulator.Account(secretKey).SetValidMX("in.shop.example", true)
	if domain, err = client.CheckInboundDomain(ctx, "in.shop.example"); err != nil || !domain.ValidMX {
		t.Errorf("checked domain is %+v, error %v", domain, err)
	}
	route, err := client.AddInboundRoute(ctx, "in.shop.example", "help-*", hook.URL+"/a")
	must("add route", err)
	route2, err := client.UpdateInboundRoute(ctx, route.ID, "hulp-*", hook.URL+"/c")
	must("update route", err)
	routes, err := client.InboundRoutes(ctx, "in.shop.example")
	must("routes", err)
	if len(routes) != 1 || routes[0] != route2 || route2.Pattern != "hulp-*" || route2.ID != route.ID {
		t.Errorf("routes are %+v", routes)
	}
	mail := mandrill.RawMessage{Message: "From: a@b.example\nTo: hulp-1@in.shop.example\nSubject: x\n\nHello\n"}
	matches, err := client.SendRawInbound(ctx, mail)
	must("send raw", err)
	if len(matches) != 1 || matches[0].Email != "hulp-1@in.shop.example" || matches[0].URL != hook.URL+"/c" {
		t.Errorf("matches are %+v", matches)
	}
	mail.To = []string{"nobody@in.shop.example"}
	if matches, err = client.SendRawInbound(ctx, mail); err != nil || len(matches) != 0 {
		t.Errorf("a message without a route: %v, %v", matches, err)
	}
	_, err = client.DeleteInboundRoute(ctx, route.ID)
	must("delete route", err)
	if _, err := client.DeleteInboundRoute(ctx, route.ID); !errors.Is(err, mandrill.ErrUnknownInboundRoute) {
		t.Errorf("second route delete: %v", err)
	}
	_, err = client.DeleteInboundDomain(ctx, "in.shop.example")
	must("delete domain", err)
	if domains, err := client.InboundDomains(ctx); err != nil || len(domains) != 0 {
		t.Errorf("domains are %v, error %v", domains, err)
	}
	if _, err := client.InboundRoutes(ctx, "in.shop.example"); !errors.Is(err, mandrill.ErrUnknownInboundDomain) {
		t.Errorf("routes of no domain: %v", err)
	}
}

func TestTimeFormats(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		`"2026-01-01 10:00:00"`:        time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC),
		`"2026-01-01 10:00:00.123450"`: time.Date(2026, 1, 1, 10, 0, 0, 123450000, time.UTC),
		`null`:                         {},
		`""`:                           {},
	} {
		var got mandrill.Time
		if err := got.UnmarshalJSON([]byte(text)); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, error %v", text, got, err)
		}
	}
	var got mandrill.Time
	for _, text := range []string{`"yesterday"`, `5`} {
		if err := got.UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
	if data, err := (mandrill.Time{}).MarshalJSON(); err != nil || string(data) != "null" {
		t.Errorf("the zero time is %s, error %v", data, err)
	}
}
