package mandrilltest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const key = "md-test"

type api struct {
	*mandrilltest.Server
	url  string
	hook *recorder
}

func newAPI(t *testing.T, options mandrilltest.Options) api {
	t.Helper()
	options.APIKeys = []string{key, "md-other"}
	setInterval := func(interval *time.Duration) {
		if *interval == 0 {
			*interval = time.Hour // tests flush
		}
	}
	setInterval(&options.BatchInterval)
	setInterval(&options.RetryInterval)
	emulator := mandrilltest.New(options)
	t.Cleanup(emulator.Close)
	server := httptest.NewServer(emulator)
	t.Cleanup(server.Close)
	return api{emulator, server.URL, newRecorder(t)}
}

// post sends a body unchanged, and returns the status and body of the answer.
func (a api) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// Other API clients use other versions, suffixes, nulls and orders of fields.
func TestAPIAcceptsOtherClients(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	for _, test := range []struct{ name, path, body, want string }{
		{"python", "/api/1.0/users/ping", `{"key": "md-test"}`, `"PONG!"`},
		{"node", "/api/1.0/users/ping.json", `{"key":"md-test"}`, `"PONG!"`},
		{"newer version", "/api/1.4/users/ping", `{"key":"md-test"}`, `"PONG!"`},
		{"another version", "/api/1.3/webhooks/list.json", `{"key":"md-test"}`, `[]`},
		{"php, nothing but the URL", "/api/1.0/webhooks/add.json", `{"url":"` + a.hook.escaped("/php") + `","description":null,"events":[],"key":"md-test"}`, `"description":null`},
		{"only the required fields", "/api/1.0/webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `/min"}`, `"events":[]`},
		{"all fields", "/api/1.0/webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `/all","description":"d","events":["click","send"]}`, `"events":["send","click"]`},
		{"integer id", "/api/1.0/webhooks/info", `{"key":"md-test","id":103}`, `/all"`},
		{"update", "/api/1.0/webhooks/update", `{"id":103,"url":"` + a.hook.URL + `/all2","events":["blacklist","whitelist"],"key":"md-test"}`, `"events":["blacklist","whitelist"]`},
		{"delete", "/api/1.0/webhooks/delete", `{"key":"md-test","id":103}`, `/all2"`},
		{"null recipients", "/api/1.0/inbound/send-raw", `{"key":"md-test","raw_message":"To: a@b.example\n\nx","to":null,"mail_from":null}`, `null`},
	} {
		status, body := a.post(t, test.path, test.body)
		if status != http.StatusOK || !strings.Contains(body, test.want) {
			t.Errorf("%s: got %d %s, want 200 with %s", test.name, status, body, test.want)
		}
	}
	if other := a.Account("md-other").Webhooks(); len(other) != 0 {
		t.Errorf("another account sees %v", other)
	}
}

func TestAPIRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{RefuseEvents: []string{"deferral"}})
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	t.Cleanup(refusing.Close)
	for _, test := range []struct {
		name, call, body string
		status, code     int
		wantName, want   string
	}{
		{"no key", "users/ping", `{}`, 400, -2, "ValidationError", "key"},
		{"key of another type", "users/ping", `{"key":1}`, 400, -2, "ValidationError", "key"},
		{"no JSON", "users/ping", `key=md-test`, 400, -2, "ValidationError", "key"},
		{"an array", "users/ping", `[]`, 400, -2, "ValidationError", "key"},
		{"wrong key", "users/ping", `{"key":"x"}`, 401, -1, "Invalid_Key", "Invalid API key"},
		{"no such call", "webhooks/rotate", `{"key":"md-test"}`, 404, -1, "GeneralError", "webhooks/rotate"},
		{"no url", "webhooks/add", `{"key":"md-test"}`, 400, -2, "ValidationError", `{"url":"Please enter a value"}`},
		{"empty url", "webhooks/add", `{"key":"md-test","url":""}`, 400, -2, "ValidationError", "url"},
		{"null url", "webhooks/add", `{"key":"md-test","url":null}`, 400, -2, "ValidationError", "url"},
		{"relative url", "webhooks/add", `{"key":"md-test","url":"/x"}`, 400, -2, "ValidationError", "valid URL"},
		{"ftp url", "webhooks/add", `{"key":"md-test","url":"ftp://x.example/"}`, 400, -2, "ValidationError", "valid URL"},
		{"unknown field", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","enabled":true}`, 400, -2, "ValidationError", "enabled"},
		{"events as a string", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":"send"}`, 400, -2, "ValidationError", "events"},
		{"events with a number", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":[1]}`, 400, -2, "ValidationError", "events"},
		{"unknown event", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":["sent"]}`, 400, -2, "ValidationError", "sent"},
		{"event under its new name", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":["denylist"]}`, 400, -2, "ValidationError", "denylist"},
		{"inbound as an event", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":["inbound"]}`, 400, -2, "ValidationError", "inbound"},
		{"refused event", "webhooks/add", `{"key":"md-test","url":"` + a.hook.URL + `","events":["deferral"]}`, 400, -2, "ValidationError", "deferral"},
		{"unreachable url", "webhooks/add", `{"key":"md-test","url":"` + down.URL + `"}`, 400, -2, "ValidationError", "could not be reached"},
		{"url that answers 202", "webhooks/add", `{"key":"md-test","url":"` + refusing.URL + `"}`, 400, -2, "ValidationError", "status 202"},
		{"id as a string", "webhooks/info", `{"key":"md-test","id":"1"}`, 400, -2, "ValidationError", "integer"},
		{"id with a fraction", "webhooks/info", `{"key":"md-test","id":1.5}`, 400, -2, "ValidationError", "integer"},
		{"no id", "webhooks/delete", `{"key":"md-test"}`, 400, -2, "ValidationError", "id"},
		{"unknown webhook", "webhooks/info", `{"key":"md-test","id":1}`, 404, 3, "Unknown_Webhook", ""},
		{"unknown webhook, update", "webhooks/update", `{"key":"md-test","id":1,"url":"` + a.hook.URL + `"}`, 404, 3, "Unknown_Webhook", ""},
		{"unknown webhook, delete", "webhooks/delete", `{"key":"md-test","id":1}`, 404, 3, "Unknown_Webhook", ""},
		{"domain without a dot", "inbound/add-domain", `{"key":"md-test","domain":"localhost"}`, 400, -2, "ValidationError", "domain"},
		{"unknown domain", "inbound/routes", `{"key":"md-test","domain":"x.example"}`, 404, 8, "Unknown_InboundDomain", ""},
		{"unknown domain, add route", "inbound/add-route", `{"key":"md-test","domain":"x.example","pattern":"*","url":"` + a.hook.URL + `"}`, 404, 8, "Unknown_InboundDomain", ""},
		{"unknown route", "inbound/delete-route", `{"key":"md-test","id":"1.1"}`, 404, 22, "Unknown_InboundRoute", ""},
		{"route id as a number", "inbound/delete-route", `{"key":"md-test","id":1}`, 400, -2, "ValidationError", "string"},
		{"no message", "inbound/send-raw", `{"key":"md-test","raw_message":"no header"}`, 400, -2, "ValidationError", "MIME"},
	} {
		status, body := a.post(t, "/api/1.0/"+test.call, test.body)
		var got struct {
			Status, Name, Message string
			Code                  int
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: answer %q: %v", test.name, body, err)
			continue
		}
		if status != test.status || got.Status != "error" || got.Code != test.code || got.Name != test.wantName || !strings.Contains(got.Message, test.want) {
			t.Errorf("%s: got %d %s, want %d with code %d, name %s and %q", test.name, status, body, test.status, test.code, test.wantName, test.want)
		}
	}
	if hooks := a.Account(key).Webhooks(); len(hooks) != 0 {
		t.Errorf("refused calls left webhooks: %v", hooks)
	}
	for _, path := range []string{"/api/2.0/users/ping", "/users/ping", "/api/1.0/users/ping.xml"} {
		if status, _ := a.post(t, path, `{"key":"md-test"}`); status != http.StatusNotFound {
			t.Errorf("POST %s: status %d, want 404", path, status)
		}
	}
	if response, err := http.Get(a.url + "/api/1.0/users/ping"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", response, err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		head, post int
		want       []string
		ok         bool
	}{
		{"HEAD answered", 200, 500, []string{"HEAD"}, true},
		{"HEAD refused", 405, 200, []string{"HEAD", "POST"}, true},
		{"HEAD redirected", 302, 200, []string{"HEAD", "POST"}, true},
		{"HEAD answered 204", 204, 200, []string{"HEAD", "POST"}, true},
		{"both refused", 404, 404, []string{"HEAD", "POST"}, false},
		{"POST answered 204", 404, 204, []string{"HEAD", "POST"}, false},
	} {
		a := newAPI(t, mandrilltest.Options{})
		var methods []string
		a.hook.handle = func(w http.ResponseWriter, r *http.Request, form mandrill.Form) {
			methods = append(methods, r.Method)
			status := test.head
			signature := r.Header.Get(mandrill.SignatureHeader)
			if r.Method == http.MethodPost {
				status = test.post
				if string(form.Get(mandrill.EventsField)) != "[]" || !mandrill.Verify(signature, a.hook.URL+"/p?a=b", form, mandrill.TestKey) {
					t.Errorf("%s: the probe's POST is not the documented one", test.name)
				}
			} else if signature != "" {
				t.Errorf("%s: HEAD is signed", test.name)
			}
			w.WriteHeader(status)
		}
		status, body := a.post(t, "/api/1.0/webhooks/add", `{"key":"md-test","url":"`+a.hook.URL+`/p?a=b"}`)
		if (status == http.StatusOK) != test.ok || !slices.Equal(methods, test.want) {
			t.Errorf("%s: got %d %s after %v, want ok %t after %v", test.name, status, body, methods, test.ok, test.want)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	add := `{"key":"md-test","url":"` + a.hook.URL + `"}`
	a.Fail("webhooks/add", mandrilltest.Fault{Status: 500, Name: "GeneralError", Code: -1, Message: "x"}, mandrilltest.Fault{Status: 502, After: true})
	a.Fail("*", mandrilltest.Fault{Status: 503})
	for i, want := range []int{500, 502, 503, 200} {
		if status, body := a.post(t, "/api/1.0/webhooks/add", add); status != want {
			t.Errorf("call %d: %d %s, want %d", i, status, body, want)
		}
	}
	if n := len(a.Account(key).Webhooks()); n != 2 {
		t.Errorf("%d webhooks, want 2: the call whose answer was lost, and the last", n)
	}
	a.Account(key).Revoke(true)
	if status, body := a.post(t, "/api/1.0/users/ping", `{"key":"md-test"}`); status != http.StatusUnauthorized {
		t.Errorf("revoked key: %d %s", status, body)
	}
	if got := a.Calls(); len(got) != 5 || got[0] != "webhooks/add" || got[4] != "users/ping" {
		t.Errorf("calls are %v", got)
	}
}
