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

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// world is an emulated Mandrill with two accounts, and a pool that uses it.
type world struct {
	emulator *mandrilltest.Server
	hook     *httptest.Server
	pool     *account.Pool
	changed  chan types.NamespacedName
	mu       sync.Mutex
	now      time.Time
	before   func() // called before each list is made
}

type hooked struct {
	account.API
	w *world
}

func (h hooked) Webhooks(ctx context.Context) ([]mandrill.Webhook, error) {
	list, err := h.API.Webhooks(ctx)
	h.w.mu.Lock()
	before := h.w.before
	h.w.mu.Unlock()
	if before != nil {
		before() // between the list's making and its arrival
	}
	return list, err
}

func newWorld(t *testing.T, interval time.Duration) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), changed: make(chan types.NamespacedName, 100)}
	w.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{"a", "b"}, BatchInterval: time.Hour})
	t.Cleanup(w.emulator.Close)
	api := httptest.NewServer(w.emulator)
	t.Cleanup(api.Close)
	w.hook = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(w.hook.Close)
	w.pool = account.NewPool(account.Options{
		Interval: interval,
		NewAPI: func(key string) (account.API, error) {
			if key == "" {
				return nil, errors.New("no key")
			}
			client, err := mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			return hooked{client, w}, err
		},
		Changed: func(_ context.Context, object types.NamespacedName) { w.changed <- object },
		Now:     w.clock,
	})
	return w
}

// clock stands still until a test lets time pass; with polling it is the real one.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool.Interval() < time.Second {
		return time.Now()
	}
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) spec(path string) mandrill.WebhookSpec {
	return mandrill.WebhookSpec{URL: w.hook.URL + path, Events: []string{"open"}}
}

func get(t *testing.T, w *world, key string) *account.Account {
	t.Helper()
	a, err := w.pool.Account(key)
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
	w := newWorld(t, time.Hour)
	a := get(t, w, "a")
	if again := get(t, w, "a"); again != a {
		t.Error("one key has two accounts")
	}
	if other := get(t, w, "b"); other == a {
		t.Error("two keys share an account")
	}
	if _, err := w.pool.Account(""); err == nil {
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
	if calls := w.emulator.Calls(); len(calls) != 1 {
		t.Errorf("50 readers made the calls %v, want one", calls)
	}
	w.pass(2 * time.Minute)
	list(t, a, time.Minute)
	list(t, a, time.Hour)
	if calls := w.emulator.Calls(); len(calls) != 2 {
		t.Errorf("calls are %v, want a second list when the first is too old", calls)
	}
}

func TestWritesAreInTheView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, time.Hour)
	a := get(t, w, "a")
	list(t, a, time.Minute)
	first, err := a.Add(t.Context(), w.spec("/1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Add(t.Context(), w.spec("/2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Update(t.Context(), first.ID, w.spec("/1b")); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), second.ID); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
	webhooks, err := a.Webhooks(t.Context(), time.Minute)
	if err != nil || len(webhooks) != 1 || webhooks[0].URL != w.hook.URL+"/1b" {
		t.Errorf("the view is %+v, error %v", webhooks, err)
	}
	if calls := w.emulator.Calls(); calls[0] != "webhooks/list" || slices.Contains(calls[1:], "webhooks/list") {
		t.Errorf("calls are %v: the view was not kept current", calls)
	}
	// a failure whose outcome is unknown makes the account be listed again
	w.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 502, After: true})
	if _, err := a.Add(t.Context(), w.spec("/3")); err == nil {
		t.Fatal("no error")
	}
	if got := list(t, a, time.Hour); len(got) != 2 {
		t.Errorf("the view has %v, want what was added before the answer was lost", got)
	}
}

// What is written while a list is under way is in the view, whether the list has it or not.
func TestWriteDuringList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, time.Hour)
	a := get(t, w, "a")
	kept, err := a.Add(t.Context(), w.spec("/kept"))
	if err != nil {
		t.Fatal(err)
	}
	gone, err := a.Add(t.Context(), w.spec("/gone"))
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	var added mandrill.Webhook
	w.before = func() {
		var err error
		if added, err = a.Add(t.Context(), w.spec("/added")); err != nil {
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

func TestPolling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.pool.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	a := get(t, w, "a")
	emulated := w.emulator.Account("a")
	follow := func(object string, id int64) {
		for _, webhook := range emulated.Webhooks() {
			if webhook.ID == id {
				a.Follow(types.NamespacedName{Name: object}, webhook)
			}
		}
	}
	var hooks []mandrill.Webhook
	for i := range 3 {
		webhook, err := a.Add(t.Context(), w.spec(fmt.Sprint("/", i)))
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
		deadline := time.After(30 * time.Second)
		for {
			select {
			case object := <-w.changed:
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
	w.pool.Forget(types.NamespacedName{Name: "deleted"})
	emulated.Revoke(true) // everybody's business, once
	seen := map[string]bool{}
	for len(seen) < 2 {
		select {
		case object := <-w.changed:
			seen[object.Name] = true
		case <-time.After(30 * time.Second):
			t.Fatalf("only %v were told of the revoked key", seen)
		}
	}
	if w.pool.Followed(types.NamespacedName{Name: "deleted"}) != nil || w.pool.Followed(types.NamespacedName{Name: "same"}) != a {
		t.Error("the pool does not know who follows what")
	}
}
