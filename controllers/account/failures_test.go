package account_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// scriptedAPI answers with functions of the test.
type scriptedAPI struct {
	account.API
	lists atomic.Int64
	list  func(context.Context) ([]mandrill.Webhook, error)
	add   func() (mandrill.Webhook, error)
}

func (s *scriptedAPI) Webhooks(ctx context.Context) ([]mandrill.Webhook, error) {
	s.lists.Add(1)
	return s.list(ctx)
}

func (s *scriptedAPI) AddWebhook(context.Context, mandrill.WebhookSpec) (mandrill.Webhook, error) {
	return s.add()
}

func (s *scriptedAPI) account(t *testing.T) (*account.Pool, *account.Account) {
	t.Helper()
	pool := account.NewPool(account.Options{
		NewAPI: func(string) (account.API, error) { return s, nil }, Changed: func(context.Context, types.NamespacedName) {},
	})
	a, err := pool.Account("k")
	if err != nil {
		t.Fatal(err)
	}
	return pool, a
}

var errLimit = &mandrill.APIError{Call: "webhooks/list", HTTPStatus: 429, Name: "RequestLimitExceeded"}

// Hints do not make the pool list an account all the time that cannot be listed.
func TestFailedListsAreNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scriptedAPI{list: func(context.Context) ([]mandrill.Webhook, error) { return nil, errLimit }}
		pool, a := s.account(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- pool.Start(ctx) }()
		synctest.Wait()
		object := types.NamespacedName{Name: "o"}
		a.Follow(object, mandrill.Webhook{ID: 1})
		for range 1000 {
			pool.PollSoon(object)
			time.Sleep(100 * time.Millisecond) // 100 s in all
		}
		if n := s.lists.Load(); n < 1 || n > 2 {
			t.Errorf("%d lists in 100 s, want one a minute", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A list requested before a write whose outcome is unknown is not used as the view after it.
func TestListBeforeAFailedWriteIsNotReused(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var remote []mandrill.Webhook
	made, arrive := make(chan struct{}), make(chan struct{})
	s := &scriptedAPI{}
	s.list = func(context.Context) ([]mandrill.Webhook, error) {
		mu.Lock()
		list := append([]mandrill.Webhook{}, remote...)
		mu.Unlock()
		if s.lists.Load() == 1 {
			close(made)
			<-arrive
		}
		return list, nil
	}
	s.add = func() (mandrill.Webhook, error) {
		mu.Lock()
		defer mu.Unlock()
		remote = append(remote, mandrill.Webhook{ID: 1, URL: "u"})
		return mandrill.Webhook{}, &mandrill.TransportError{Call: "webhooks/add", Err: errors.New("reset")}
	}
	_, a := s.account(t)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		_, _ = a.Webhooks(t.Context(), -1)
	}()
	<-made
	if _, err := a.Add(t.Context(), mandrill.WebhookSpec{URL: "u"}); err == nil {
		t.Error("no error")
	}
	close(arrive)
	<-polled
	if list, err := a.Webhooks(t.Context(), time.Minute); err != nil || len(list) != 1 {
		t.Errorf("the view is %v, error %v; want what was added after all", list, err)
	}
}

// Hundreds of objects with URLs that Mandrill refuses share a list.
func TestRefusedArgumentsKeepTheView(t *testing.T) {
	t.Parallel()
	s := &scriptedAPI{
		list: func(context.Context) ([]mandrill.Webhook, error) { return nil, nil },
		add: func() (mandrill.Webhook, error) {
			return mandrill.Webhook{}, &mandrill.APIError{Call: "webhooks/add", Name: "ValidationError", Message: `{"url":"no"}`}
		},
	}
	_, a := s.account(t)
	for range 100 {
		if _, err := a.Webhooks(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Add(t.Context(), mandrill.WebhookSpec{}); err == nil {
			t.Error("no error")
		}
	}
	if n := s.lists.Load(); n != 1 {
		t.Errorf("%d lists", n)
	}
}

// Callers that wait for a list get its failure too, and no list takes for ever.
func TestFailedListIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scriptedAPI{list: func(ctx context.Context) ([]mandrill.Webhook, error) {
			<-ctx.Done() // Mandrill hangs
			return nil, &mandrill.TransportError{Call: "webhooks/list", Err: ctx.Err()}
		}}
		_, a := s.account(t)
		begin := time.Now()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := a.Webhooks(t.Context(), time.Minute); err == nil {
					t.Error("no error")
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); s.lists.Load() != 1 || took > time.Minute {
			t.Errorf("%d lists took %s", s.lists.Load(), took)
		}
	})
}

// A refused key is not tried again by one object after the other.
func TestRefusedKeyIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := true
		s := &scriptedAPI{list: func(context.Context) ([]mandrill.Webhook, error) {
			if refused {
				return nil, &mandrill.APIError{Call: "webhooks/list", HTTPStatus: 401, Name: "Invalid_Key"}
			}
			return []mandrill.Webhook{}, nil
		}}
		_, a := s.account(t)
		for range 100 {
			if _, err := a.Webhooks(t.Context(), time.Hour); !errors.Is(err, mandrill.ErrInvalidKey) {
				t.Errorf("got error %v", err)
			}
		}
		if n := s.lists.Load(); n != 1 {
			t.Errorf("%d lists, want one", n)
		}
		refused = false
		time.Sleep(time.Minute)
		if _, err := a.Webhooks(t.Context(), time.Hour); err != nil {
			t.Errorf("a key that is accepted again: %v", err)
		}
	})
}

// A list that lacks most of an account is requested again before anybody sees it. The second one counts.
func TestListThatLostMostIsRequestedAgain(t *testing.T) {
	t.Parallel()
	all := []mandrill.Webhook{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}}
	var answer []mandrill.Webhook
	s := &scriptedAPI{list: func(context.Context) ([]mandrill.Webhook, error) { return append([]mandrill.Webhook{}, answer...), nil }}
	_, a := s.account(t)
	for i, step := range []struct {
		answer []mandrill.Webhook
		fails  bool
	}{
		{all, false},
		{nil, true},       // most are gone
		{all, false},      // and are there again
		{all[:2], true},   // most are gone
		{all[:2], false},  // indeed
		{all[:1], false},  // one is gone
		{all, false},      // and all are there
		{all[2:4], true},  // most are gone
		{all[2:4], false}, // indeed
	} {
		answer = step.answer
		list, err := a.Webhooks(t.Context(), -1)
		if (err != nil) != step.fails || err == nil && len(list) != len(step.answer) {
			t.Errorf("list %d: got %d webhooks and error %v", i, len(list), err)
		}
		if err != nil && !mandrill.Temporary(err) {
			t.Errorf("list %d: %v is not temporary", i, err)
		}
	}
}

// However many objects ask, a failing account is listed less and less often, and not before Mandrill allows it.
func TestFailingAccountIsListedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answer error = errLimit
		s := &scriptedAPI{list: func(context.Context) ([]mandrill.Webhook, error) { return []mandrill.Webhook{}, answer }}
		_, a := s.account(t)
		ask := func(period time.Duration) int64 {
			before := s.lists.Load()
			for range int(period / (100 * time.Millisecond)) {
				for range 30 {
					_, err := a.Webhooks(t.Context(), addMaxAge)
					if (err == nil) != (answer == nil) {
						t.Fatalf("got error %v", err)
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
			return s.lists.Load() - before
		}
		if n := ask(time.Minute); n < 5 || n > 10 {
			t.Errorf("%d lists in the first minute", n)
		}
		if n := ask(10 * time.Minute); n < 9 || n > 11 {
			t.Errorf("%d lists in ten minutes", n)
		}
		answer = &mandrill.APIError{Call: "webhooks/list", HTTPStatus: 429, Name: "RequestLimitExceeded", RetryAfter: 3 * time.Minute}
		time.Sleep(time.Minute)
		if n := ask(9 * time.Minute); n != 3 {
			t.Errorf("%d lists in nine minutes, though Mandrill asks for three minutes", n)
		}
		answer = nil
		time.Sleep(3 * time.Minute)
		if n := ask(time.Minute); n < 5 || n > 7 {
			t.Errorf("%d lists in a minute without a failure", n)
		}
		answer = errLimit
		time.Sleep(addMaxAge + time.Second)
		if n := ask(100 * time.Millisecond); n != 2 {
			t.Errorf("%d lists, want the second try at once", n)
		}
	})
}

const addMaxAge = 10 * time.Second
