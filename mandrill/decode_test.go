package mandrill_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// A value of an unusual type is read as PHP means it, or leaves its field empty. The rest of the webhook is read.
func TestUnusualFieldsAreDecodedByThemselves(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	for fields, check := range map[string]func(mandrill.Webhook) bool{
		`"id":"7"`:            func(w mandrill.Webhook) bool { return w.ID == 7 },
		`"id":7.0`:            func(w mandrill.Webhook) bool { return w.ID == 7 },
		`"batches_sent":"3"`:  func(w mandrill.Webhook) bool { return w.BatchesSent == 3 },
		`"batches_sent":null`: func(w mandrill.Webhook) bool { return w.BatchesSent == 0 },
		`"events_sent":false`: func(w mandrill.Webhook) bool { return w.EventsSent == 0 },
		`"events":{"0":"send","1":"open"}`: func(w mandrill.Webhook) bool {
			return slices.Equal(w.Events, []string{"send", "open"})
		},
		`"events":{}`:    func(w mandrill.Webhook) bool { return len(w.Events) == 0 },
		`"events":false`: func(w mandrill.Webhook) bool { return len(w.Events) == 0 },
		`"events":null`:  func(w mandrill.Webhook) bool { return len(w.Events) == 0 },
		`"created_at":"2026-01-01T11:00:00+01:00"`:  func(w mandrill.Webhook) bool { return w.CreatedAt.Equal(created) },
		`"created_at":"2026-01-01 10:00:00.000000"`: func(w mandrill.Webhook) bool { return w.CreatedAt.Equal(created) },
		`"last_sent_at":"0000-00-00 00:00:00"`:      func(w mandrill.Webhook) bool { return w.LastSentAt.IsZero() },
		`"last_sent_at":false`:                      func(w mandrill.Webhook) bool { return w.LastSentAt.IsZero() },
		`"last_error":[]`:                           func(w mandrill.Webhook) bool { return w.LastError == "" },
		`"last_error":500`:                          func(w mandrill.Webhook) bool { return w.LastError == "500" },
		`"description":false`:                       func(w mandrill.Webhook) bool { return w.Description == "" },
	} {
		var webhook mandrill.Webhook
		if err := json.Unmarshal([]byte(`{"url":"u",`+fields+`}`), &webhook); err != nil || !check(webhook) || webhook.URL != "u" || len(webhook.Unreadable) > 0 {
			t.Errorf("%s: got %+v, error %v", fields, webhook, err)
		}
	}
	for fields, unreadable := range map[string]string{
		`"id":1.5`: "id", `"id":[1]`: "id", `"events":"send"`: "events", `"events":[1]`: "events", `"created_at":"yesterday"`: "created_at",
		`"created_at":5`: "created_at", `"last_error":{"a":1}`: "last_error", `"description":true`: "description", `"batches_sent":"many"`: "batches_sent",
	} {
		var webhook mandrill.Webhook
		if err := json.Unmarshal([]byte(`{"url":"u",`+fields+`}`), &webhook); err != nil || webhook.URL != "u" || !slices.Equal(webhook.Unreadable, []string{unreadable}) {
			t.Errorf("%s: got %+v, error %v", fields, webhook, err)
		}
	}
	for _, text := range []string{`[]`, `"x"`, `5`} {
		if err := json.Unmarshal([]byte(text), &mandrill.Webhook{}); err == nil {
			t.Errorf("%s is read as a webhook", text)
		}
	}
	var domain mandrill.InboundDomain
	if err := json.Unmarshal([]byte(`{"domain":"a.example","created_at":"0000-00-00 00:00:00","valid_mx":"1"}`), &domain); err != nil || !domain.ValidMX || domain.Domain != "a.example" {
		t.Errorf("domain is %+v, error %v", domain, err)
	}
	var route mandrill.InboundRoute
	if err := json.Unmarshal([]byte(`{"id":88.214614,"pattern":"*","url":"u"}`), &route); err != nil || route.ID != "88.214614" {
		t.Errorf("route is %+v, error %v", route, err)
	}
}

// An element that cannot be read keeps its position in the list, without an ID, and does not make the list useless. What is no
// list is an error.
func TestListsAreDecodedElementByElement(t *testing.T) {
	t.Parallel()
	type ids = []string
	calls := map[string]func(*mandrill.Client) (ids, error){
		"webhooks/list": func(c *mandrill.Client) (found ids, err error) {
			list, err := c.Webhooks(t.Context())
			for _, webhook := range list {
				found = append(found, strconv.FormatInt(webhook.ID, 10))
			}
			return found, err
		},
		"inbound/domains": func(c *mandrill.Client) (found ids, err error) {
			list, err := c.InboundDomains(t.Context())
			for _, domain := range list {
				found = append(found, domain.Domain)
			}
			return found, err
		},
		"inbound/routes": func(c *mandrill.Client) (found ids, err error) {
			list, err := c.InboundRoutes(t.Context(), "a.example")
			for _, route := range list {
				found = append(found, route.ID)
			}
			return found, err
		},
	}
	for _, test := range []struct {
		call, answer string
		want         ids // nil for an error
	}{
		{"webhooks/list", `[{"id":1},{"id":"2","events":7},3,null,{"id":"x"}]`, ids{"1", "2", "0", "0", "0"}},
		{"webhooks/list", `[]`, ids{}},
		{"webhooks/list", `[3,"x"]`, ids{"0", "0"}},
		{"webhooks/list", `{"0":{}}`, nil},
		{"webhooks/list", `null`, nil},
		{"inbound/domains", `[{"domain":"a.example"},7,{"domain":[1]}]`, ids{"a.example", "", ""}},
		{"inbound/domains", `null`, nil},
		{"inbound/routes", `[[],{"id":"1.2"},{"id":{"a":1}}]`, ids{"", "1.2", ""}},
		{"inbound/routes", `"x"`, nil},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.answer) }))
		client, err := mandrill.NewClient(mandrill.ClientOptions{Key: secretKey, BaseURL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		got, err := calls[test.call](client)
		if (err != nil) != (test.want == nil) || !slices.Equal(got, test.want) {
			t.Errorf("%s %s: got %q, error %v, want %q", test.call, test.answer, got, err, test.want)
		}
		server.Close()
	}
}

// The same failure has the same text each time, without addresses.
func TestTransportErrorsHaveStableTexts(t *testing.T) {
	t.Parallel()
	local, remote := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 54321}, &net.TCPAddr{IP: net.IPv4(10, 4, 5, 6), Port: 443}
	for want, err := range map[string]error{
		"webhooks/list: connection reset by peer":                  &url.Error{Op: "Post", URL: "https://10.4.5.6/", Err: &net.OpError{Op: "read", Net: "tcp", Source: local, Addr: remote, Err: syscall.ECONNRESET}},
		"webhooks/list: no answer in time":                         &url.Error{Op: "Post", URL: "https://10.4.5.6/", Err: timeoutError{}},
		"webhooks/list: the host name cannot be resolved":          &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "m.example", Server: "10.0.0.1:53"}},
		"webhooks/list: the connection ended before the answer":    fmt.Errorf("x: %w", io.ErrUnexpectedEOF),
		"webhooks/list: malformed HTTP response":                   errors.New(`malformed HTTP response "\x00\x17"`),
		"webhooks/list: something else from inside the connection": &net.OpError{Op: "read", Source: local, Addr: remote, Err: errors.New("something else from inside the connection")},
	} {
		transport := &mandrill.TransportError{Call: "webhooks/list", Err: err}
		if got := transport.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !errors.Is(transport, err) {
			t.Errorf("%q does not wrap its cause", want)
		}
	}
	texts := map[string]bool{}
	for _, answer := range []string{"\x00\x01", "garbage", `{"a":`, "<html>"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		client, err := mandrill.NewClient(mandrill.ClientOptions{Key: secretKey, BaseURL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		texts[client.Ping(t.Context()).Error()] = true
		server.Close()
		gone := client.Ping(t.Context()).Error()
		if strings.Contains(gone, "127.0.0.1") || !strings.Contains(gone, "connection refused") {
			t.Errorf("without a server: %s", gone)
		}
	}
	if len(texts) != 1 {
		t.Errorf("answers that are not JSON have the texts %v", texts)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout on 10.1.2.3:54321" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
