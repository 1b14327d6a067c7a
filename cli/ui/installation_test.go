package ui_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const patience = time.Minute

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+/\?key=[A-Z2-7]{26}`)

// shown is the page of all receivers that the program serves.
type shown struct {
	*fixture
	url    string
	client *http.Client
	cancel context.CancelFunc
	ended  chan error
}

func (f *fixture) show(t *testing.T) *shown {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{fixture: f, cancel: cancel, ended: make(chan error, 1), client: &http.Client{Jar: jar}}
	go func() { s.ended <- f.run(ctx) }()
	poll.NoError(t, patience, "the page has an address", func() error {
		if s.url = address.FindString(strings.Join(f.out.lines(), "\n")); s.url == "" {
			return errors.New(strings.Join(f.err.lines(), "\n"))
		}
		return nil
	})
	return s
}

// events returns the ids of the events on the page, which are the names of receivers.
func (s *shown) events(t *testing.T) (status int, ids []string) {
	t.Helper()
	response, err := s.client.Get(s.base() + "api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Events []struct{ ID, Receiver string }
	}
	if response.StatusCode == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	for _, event := range answer.Events {
		if event.Receiver != "system/"+event.ID {
			t.Errorf("the event of %s is said to be of %s", event.ID, event.Receiver)
		}
		ids = append(ids, event.ID)
	}
	slices.Sort(ids)
	return response.StatusCode, ids
}

func (s *shown) base() string { return s.url[:strings.Index(s.url, "?")] }

// enter opens the address, as a browser does.
func (s *shown) enter(t *testing.T, url string) int {
	t.Helper()
	response, err := s.client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Request.URL.RawQuery != "" && response.StatusCode == http.StatusOK {
		t.Errorf("the key stays in the address: %s", response.Request.URL)
	}
	return response.StatusCode
}

func stay(ctx context.Context, _ access.Receiver, _, _ int, ready func(int)) error {
	ready(0)
	<-ctx.Done()
	return nil
}

// One address shows all receivers, to those who have its key only.
func TestOnePageShowsAllReceivers(t *testing.T) {
	t.Parallel()
	s := newFixture(t, stay, "--page-listen=:8089", "--page-listen=:8089").show(t)
	if status, ids := s.events(t); status != http.StatusUnauthorized || ids != nil {
		t.Errorf("without the key: status %d, %v", status, ids)
	}
	if status := s.enter(t, s.base()+"?key=wrong"); status != http.StatusUnauthorized {
		t.Errorf("with another key: status %d", status)
	}
	if status := s.enter(t, s.url); status != http.StatusOK {
		t.Errorf("with the key: status %d", status)
	}
	if status, ids := s.events(t); status != http.StatusOK || !slices.Equal(ids, []string{"r-0", "r-1"}) {
		t.Errorf("after that: status %d, %v", status, ids)
	}
	if got := s.out.lines(); len(got) != 1 || !strings.HasSuffix(got[0], "  system/r-0, system/r-1") {
		t.Errorf("it says %q", got)
	}
	s.cancel()
	if err := <-s.ended; err != nil || s.err.String() != "" {
		t.Errorf("it ends with %v: %s", err, s.err.String())
	}
}

// A page on loopback is no page for a name that leads there, nor for a form of another site.
func TestThePageOfAllReceiversIsGuarded(t *testing.T) {
	t.Parallel()
	s := newFixture(t, stay, "--page-listen=:8089").show(t)
	s.enter(t, s.url)
	for name, test := range map[string]struct {
		method, path, host string
		header             http.Header
		want               int
	}{
		"the page":         {http.MethodGet, "api/events", "", nil, http.StatusOK},
		"another name":     {http.MethodGet, "api/events", "evil.example", nil, http.StatusUnauthorized}, // a browser has no cookie for it
		"another site":     {http.MethodGet, "api/events", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		"a form":           {http.MethodPost, "api/dead-letters/purge?receiver=system/r-0", "", nil, http.StatusForbidden},
		"its script":       {http.MethodPost, "api/dead-letters/purge?receiver=system/r-0", "", http.Header{"X-Mandrill-Page": {"1"}}, http.StatusOK},
		"another receiver": {http.MethodPost, "api/dead-letters/purge?receiver=x", "", http.Header{"X-Mandrill-Page": {"1"}}, http.StatusBadRequest},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, s.base()+test.path, strings.NewReader(`{"seqs": [1]}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		for key, values := range test.header {
			request.Header[key] = values
		}
		response, err := s.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: status %d, want %d", name, response.StatusCode, test.want)
		}
		if policy := response.Header.Get("Content-Security-Policy"); test.want != http.StatusUnauthorized && !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: the policy is %q", name, policy)
		}
	}
}

// A receiver that cannot be reached is named, and its connection is made again, while the others go on. One that never was makes the
// result incomplete.
func TestTheOthersGoOnWithoutAReceiver(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	lose := make(chan struct{})
	s := newFixture(t, func(ctx context.Context, receiver access.Receiver, _, _ int, ready func(int)) error {
		switch {
		case receiver.Pod == "r-1":
			return errors.New("no way")
		case calls.Add(1) == 1:
			ready(0)
			<-lose
			return access.ErrLost
		}
		return stay(ctx, receiver, 0, 0, ready)
	}, "--page-listen=:8089", "--page-listen=:8089").show(t)
	s.enter(t, s.url)
	if status, ids := s.events(t); status != http.StatusOK || !slices.Equal(ids, []string{"r-0"}) {
		t.Errorf("status %d, %v", status, ids)
	}
	close(lose)
	poll.NoError(t, patience, "the lost connection is made again", func() error {
		if got := s.err.lines(); !slices.Contains(got, "system/r-0 can be reached again") {
			return errors.New(strings.Join(got, "\n"))
		}
		return nil
	})
	if status, ids := s.events(t); status != http.StatusOK || !slices.Equal(ids, []string{"r-0"}) {
		t.Errorf("again: status %d, %v", status, ids)
	}
	if got := s.err.lines(); !slices.ContainsFunc(got, func(line string) bool { return strings.HasSuffix(line, "forwarding a port to system/r-1: no way") }) ||
		!slices.Contains(got, "system/r-0: the connection was lost: trying again") {
		t.Errorf("it warns %q", got)
	}
	s.cancel()
	if err := <-s.ended; output.StatusOf(err) != output.StatusIncomplete {
		t.Errorf("it ends with %v", err)
	}
}

// Without a receiver there is no page, and the error says why.
func TestNoReceiverIsReached(t *testing.T) {
	t.Parallel()
	never := errors.New("no way")
	fail := func(context.Context, access.Receiver, int, int, func(int)) error { return never }
	err := newFixture(t, fail, "--page-listen=:8089", "--page-listen=:8089").run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "system/r-0: no way") || !strings.Contains(err.Error(), "system/r-1: no way") {
		t.Errorf("got %v", err)
	}
}
