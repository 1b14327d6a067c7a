package account_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// patience is how long a test waits, far longer than any step takes on a busy machine.
const patience = 3 * time.Minute

// fixture is an emulated Mandrill with two accounts, and a pool that uses it.
type fixture struct {
	emulator *mandrilltest.Server
	hook     *httptest.Server
	pool     *account.Pool
	changed  chan types.NamespacedName
	mu       sync.Mutex
	now      time.Time
	realTime bool
	before   func() // called before each list is made
}

// hookedAPI calls a function of the test while a list is on its way.
type hookedAPI struct {
	account.API
	fixture *fixture
}

func (h hookedAPI) Webhooks(ctx context.Context) ([]mandrill.Webhook, error) {
	list, err := h.API.Webhooks(ctx)
	h.fixture.mu.Lock()
	before := h.fixture.before
	h.fixture.mu.Unlock()
	if before != nil {
		before() // Mandrill has made the list, and the pool has not got it yet
	}
	return list, err
}

func newFixture(t *testing.T, interval time.Duration, change ...func(*account.Options)) *fixture {
	t.Helper()
	f := &fixture{realTime: interval < time.Second, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), changed: make(chan types.NamespacedName, 100)}
	f.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{"a", "b"}, BatchInterval: time.Hour})
	t.Cleanup(f.emulator.Close)
	api := httptest.NewServer(f.emulator)
	t.Cleanup(api.Close)
	f.hook = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(f.hook.Close)
	options := account.Options{
		Interval: interval,
		NewAPI: func(key string) (account.API, error) {
			if key == "" {
				return nil, errors.New("no key")
			}
			client, err := mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			return hookedAPI{client, f}, err
		},
		Changed: func(_ context.Context, object types.NamespacedName) { f.changed <- object },
		Now:     f.clock,
	}
	for _, c := range change {
		c(&options)
	}
	f.pool = account.NewPool(options)
	return f
}

// clock stands still until a test advances it; with polling it is the real one.
func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.realTime {
		return time.Now()
	}
	return f.now
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) spec(path string) mandrill.WebhookSpec {
	return mandrill.WebhookSpec{URL: f.hook.URL + path, Events: []string{"open"}}
}

func accountOf(t *testing.T, f *fixture, key string) *account.Account {
	t.Helper()
	a, err := f.pool.Account(key)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ids(list []mandrill.Webhook) []int64 {
	var ids []int64
	for _, webhook := range list {
		ids = append(ids, webhook.ID)
	}
	return ids
}

func list(t *testing.T, a *account.Account, maxAge time.Duration) []int64 {
	t.Helper()
	webhooks, err := a.Webhooks(t.Context(), maxAge)
	if err != nil {
		t.Fatal(err)
	}
	return ids(webhooks)
}

func TestOneViewPerKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, time.Hour)
	a := accountOf(t, f, "a")
	if again := accountOf(t, f, "a"); again != a {
		t.Error("one key has two accounts")
	}
	if other := accountOf(t, f, "b"); other == a {
		t.Error("two keys share an account")
	}
	if _, err := f.pool.Account(""); err == nil {
		t.Error("an account without a key was made")
	}
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if _, err := a.Webhooks(t.Context(), time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if calls := f.emulator.Calls(); len(calls) != 1 {
		t.Errorf("50 readers made the calls %v, want one", calls)
	}
	f.advance(2 * time.Minute)
	list(t, a, time.Minute)
	list(t, a, time.Hour)
	if calls := f.emulator.Calls(); len(calls) != 2 {
		t.Errorf("calls are %v, want a second list when the first is too old", calls)
	}
}

func TestWritesAreInTheView(t *testing.T) {
	t.Parallel()
	f := newFixture(t, time.Hour)
	a := accountOf(t, f, "a")
	list(t, a, time.Minute)
	first, err := a.Add(t.Context(), f.spec("/1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Add(t.Context(), f.spec("/2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Update(t.Context(), first.ID, f.spec("/1b")); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), second.ID); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
	webhooks, err := a.Webhooks(t.Context(), time.Minute)
	if err != nil || len(webhooks) != 1 || webhooks[0].URL != f.hook.URL+"/1b" {
		t.Errorf("the view is %+v, error %v", webhooks, err)
	}
	if calls := f.emulator.Calls(); calls[0] != "webhooks/list" || slices.Contains(calls[1:], "webhooks/list") {
		t.Errorf("calls are %v: the view was not kept current", calls)
	}
	// a failure whose outcome is unknown makes the account be listed again
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 502, After: true})
	if _, err := a.Add(t.Context(), f.spec("/3")); err == nil {
		t.Fatal("no error")
	}
	if got := list(t, a, time.Hour); len(got) != 2 {
		t.Errorf("the view has %v, want what was added before the answer was lost", got)
	}
}

// A write while a list is in flight is in the view, whether the list has it or not.
func TestWriteDuringAListIsInTheView(t *testing.T) {
	t.Parallel()
	f := newFixture(t, time.Hour)
	a := accountOf(t, f, "a")
	kept, err := a.Add(t.Context(), f.spec("/kept"))
	if err != nil {
		t.Fatal(err)
	}
	gone, err := a.Add(t.Context(), f.spec("/gone"))
	if err != nil {
		t.Fatal(err)
	}
	f.advance(time.Second)
	var added mandrill.Webhook
	f.before = func() {
		var err error
		if added, err = a.Add(t.Context(), f.spec("/added")); err != nil {
			t.Error(err)
		}
		if err := a.Delete(t.Context(), gone.ID); err != nil {
			t.Error(err)
		}
	}
	if got, want := list(t, a, time.Minute), []int64{kept.ID, added.ID}; !slices.Equal(got, want) {
		t.Errorf("the view has %v, want %v", got, want)
	}
}

// start polls until the test ends.
func (f *fixture) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.pool.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Everybody who asks for an early poll gets one, and all together no more than one per gap.
func TestPollSoonIsRateLimited(t *testing.T) {
	t.Parallel()
	const gap = 200 * time.Millisecond
	f := newFixture(t, time.Hour, func(o *account.Options) { o.Now, o.Gap = time.Now, gap })
	f.start(t)
	a := accountOf(t, f, "a")
	object := types.NamespacedName{Name: "x"}
	f.pool.PollSoon(object) // nobody knows it
	webhook, err := a.Add(t.Context(), f.spec("/x"))
	if err != nil {
		t.Fatal(err)
	}
	a.Follow(object, webhook)
	begin := time.Now()
	for round := range 4 {
		if _, err := f.emulator.Account("a").ResetKey(webhook.ID); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			f.pool.PollSoon(object)
		}
		select {
		case <-f.changed:
		case <-time.After(patience):
			t.Fatalf("nobody polled in round %d", round)
		}
	}
	lists := 0
	for _, call := range f.emulator.Calls() {
		if call == "webhooks/list" {
			lists++
		}
	}
	if most := int(time.Since(begin)/gap) + 1; lists > most {
		t.Errorf("%d lists in %s, want no more than %d", lists, time.Since(begin), most)
	}
}

func TestInboundViewFollowsWrites(t *testing.T) {
	t.Parallel()
	f := newFixture(t, time.Hour)
	a := accountOf(t, f, "a")
	want := func(wantCalls int, name string, want account.Domain) {
		t.Helper()
		before := len(f.emulator.Calls())
		got, err := a.Inbound(t.Context(), time.Minute, name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got[name].Routes {
			got[name].Routes[i].ID = ""
		}
		if diff := cmp.Diff(want, got[name], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if made := f.emulator.Calls()[before:]; len(made) != wantCalls {
			t.Errorf("calls are %v, want %d", made, wantCalls)
		}
	}
	want(1, "a.example", account.Domain{})
	want(0, "a.example", account.Domain{})
	if err := a.AddInboundDomain(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	want(2, "a.example", account.Domain{Added: true})
	f.emulator.Account("a").SetValidMX("a.example", true)
	if valid, err := a.CheckInboundDomain(t.Context(), "a.example", time.Minute); err != nil || !valid {
		t.Errorf("got %t, %v", valid, err)
	}
	want(0, "a.example", account.Domain{Added: true, ValidMX: true})
	if _, err := a.CheckInboundDomain(t.Context(), "a.example", time.Minute); err != nil {
		t.Error(err)
	}
	want(0, "a.example", account.Domain{Added: true, ValidMX: true})
	if err := a.AddInboundRoute(t.Context(), "a.example", "x", f.hook.URL+"/x"); err != nil {
		t.Fatal(err)
	}
	id := f.emulator.Account("a").Routes("a.example")[0].ID
	if err := a.UpdateInboundRoute(t.Context(), id, "y", f.hook.URL+"/y"); err != nil {
		t.Fatal(err)
	}
	route := account.Domain{Added: true, ValidMX: true, Routes: []mandrill.InboundRoute{{Pattern: "y", URL: f.hook.URL + "/y"}}}
	want(2, "a.example", route)
	f.advance(2 * time.Minute)
	want(2, "a.example", route)
	want(0, "b.example", account.Domain{})
	for range 2 { // what is gone is deleted
		if err := a.DeleteInboundRoute(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if names, err := a.InboundDomains(t.Context(), time.Minute); err != nil || !slices.Equal(names, []string{"a.example"}) {
		t.Errorf("the domains are %v, error %v", names, err)
	}
}

// Domains are listed only while objects follow them.
func TestOnlyFollowedDomainsArePolled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2*time.Millisecond)
	f.start(t)
	a := accountOf(t, f, "a")
	webhook, err := a.Add(t.Context(), f.spec("/x"))
	if err != nil {
		t.Fatal(err)
	}
	a.Follow(types.NamespacedName{Name: "without"}, webhook)
	a.FollowInbound(types.NamespacedName{Name: "nobody"}, map[string]account.Domain{"a.example": {}})
	if err := a.AddInboundDomain(t.Context(), "a.example"); err != nil {
		t.Fatal(err)
	}
	list(t, a, -1) // a while has passed
	if slices.Contains(f.emulator.Calls(), "inbound/domains") {
		t.Error("domains are listed though nobody wants to know")
	}
	object := types.NamespacedName{Name: "with"}
	a.Follow(object, webhook)
	expect := func() {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case changed := <-f.changed:
				if changed == object {
					return
				}
				t.Errorf("%s is said to have changed", changed)
			case <-deadline:
				t.Fatal("nobody was told")
			}
		}
	}
	for name, change := range map[string]func(account.Domain) account.Domain{
		"the domain":    func(d account.Domain) account.Domain { d.Added = false; return d },
		"the MX record": func(d account.Domain) account.Domain { d.ValidMX = true; return d },
		"a route": func(d account.Domain) account.Domain {
			d.Routes = []mandrill.InboundRoute{{Pattern: "x"}}
			return d
		},
	} {
		now, err := a.Inbound(t.Context(), -1, "a.example")
		if err != nil {
			t.Fatal(err)
		}
		a.FollowInbound(object, map[string]account.Domain{"a.example": change(now["a.example"])})
		t.Log(name)
		expect()
		a.FollowInbound(object, now)
		for len(f.changed) > 0 {
			<-f.changed
		}
	}
}

func TestAgeIsThatOfTheOldestList(t *testing.T) {
	t.Parallel()
	f := newFixture(t, time.Hour)
	a, b := accountOf(t, f, "a"), accountOf(t, f, "b")
	webhook, err := a.Add(t.Context(), f.spec("/x"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Lacks(webhook.ID + 1) {
		t.Error("an account without a view lacks something")
	}
	list(t, a, time.Minute)
	if _, known := f.pool.Age(); known {
		t.Error("an account that nobody follows has an age")
	}
	a.Follow(types.NamespacedName{Name: "x"}, webhook)
	f.advance(time.Minute)
	list(t, b, time.Minute)
	b.Follow(types.NamespacedName{Name: "y"}, mandrill.Webhook{})
	f.advance(time.Minute)
	if age, known := f.pool.Age(); !known || age != 2*time.Minute {
		t.Errorf("the oldest view has the age %s, want two minutes", age)
	}
	if a.Lacks(webhook.ID) || !a.Lacks(webhook.ID+1) {
		t.Error("the account does not know what it has")
	}
}

func TestPollReportsChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2*time.Millisecond)
	f.start(t)
	a := accountOf(t, f, "a")
	emulated := f.emulator.Account("a")
	follow := func(object string, id int64) {
		for _, webhook := range emulated.Webhooks() {
			if webhook.ID == id {
				a.Follow(types.NamespacedName{Name: object}, webhook)
			}
		}
	}
	var hooks []mandrill.Webhook
	for i := range 3 {
		webhook, err := a.Add(t.Context(), f.spec(fmt.Sprint("/", i)))
		if err != nil {
			t.Fatal(err)
		}
		hooks = append(hooks, webhook)
	}
	follow("edited", hooks[0].ID)
	follow("same", hooks[1].ID)
	follow("deleted", hooks[2].ID)
	expect := func(want string) {
		t.Helper()
		deadline := time.After(patience)
		for {
			select {
			case object := <-f.changed:
				if object.Name == want {
					return
				}
				if object.Name == "same" {
					t.Errorf("waiting for %s, %s is said to have changed", want, object.Name)
				}
			case <-deadline:
				t.Fatalf("%s was not told", want)
			}
		}
	}
	emulated.Edit(hooks[0].ID, func(spec *mandrill.WebhookSpec) { spec.Events = nil })
	expect("edited")
	follow("edited", hooks[0].ID)
	if _, err := emulated.ResetKey(hooks[0].ID); err != nil {
		t.Fatal(err)
	}
	expect("edited")
	follow("edited", hooks[0].ID)
	if err := a.Delete(t.Context(), hooks[2].ID); err != nil {
		t.Fatal(err)
	}
	expect("deleted")
	f.pool.Forget(types.NamespacedName{Name: "deleted"})
	emulated.Revoke(true) // everybody's business, once
	seen := map[string]bool{}
	for len(seen) < 2 {
		select {
		case object := <-f.changed:
			seen[object.Name] = true
		case <-time.After(patience):
			t.Fatalf("only %v were told of the revoked key", seen)
		}
	}
	if f.pool.Followed(types.NamespacedName{Name: "deleted"}) != nil || f.pool.Followed(types.NamespacedName{Name: "same"}) != a {
		t.Error("the pool does not know who follows what")
	}
}
