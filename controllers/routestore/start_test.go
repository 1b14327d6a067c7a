package routestore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

// storeWith returns a store that has just started, in a cluster with the named webhooks.
func (f *fixture) storeWith(webhooks ...string) *routestore.Store {
	return routestore.New(routestore.Options{
		Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test",
		Webhooks: func(context.Context) (map[string]bool, error) {
			names := map[string]bool{}
			for _, name := range webhooks {
				names[name] = true
			}
			return names, nil
		},
	})
}

func (f *fixture) mustStart(store *routestore.Store) {
	f.t.Helper()
	if err := store.Start(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// Without a document a receiver is not ready, and in a new installation no webhook writes one.
func TestStartWritesAnEmptyDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.storeWith()
	f.mustStart(store)
	f.wantStored(map[string]string{"routes": ""})
	f.mustStart(store)
	f.mustStart(f.storeWith())
	if got := f.written(); !slices.Equal(got, []string{"routes"}) {
		t.Errorf("written: %v", got)
	}
	f.mustSet(store, true, "a/x", route(0))
	f.wantStored(map[string]string{"routes": "a/x"})
}

// Webhooks of other installations do not delay it: they write into Secrets of their own.
func TestStartDoesNotWaitForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		started := time.Now()
		f.mustStart(routestore.New(routestore.Options{
			Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test",
			Webhooks: func(context.Context) (map[string]bool, error) { return map[string]bool{"b/other": false}, nil },
		}))
		f.wantStored(map[string]string{"routes": ""})
		if took := time.Since(started); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestStartCompletesASecretWithoutDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "routes"}}); err != nil {
		t.Fatal(err)
	}
	f.mustStart(f.storeWith())
	var secret corev1.Secret
	if err := f.client.Get(t.Context(), types.NamespacedName{Namespace: "system", Name: "routes"}, &secret); err != nil {
		t.Fatal(err)
	}
	if _, ok := secret.Data[routes.Key]; !ok {
		t.Error("the Secret has no document")
	}
}

// A document that exists stays as it is, also while its webhooks have not written theirs again.
func TestStartKeepsADocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustSet(f.store(), true, "a/x", route(0))
	f.onWrite(nil)
	f.mustStart(f.storeWith("a/x", "a/y"))
	if got := f.written(); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
}

// Routes of webhooks that are gone are removed although no webhook is left that would cause a write.
func TestStartRemovesWhatIsLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustSet(f.store(), true, "a/x", route(0))
	f.mustStart(f.storeWith())
	f.wantStored(map[string]string{"routes": ""})
}

// Where the Secret is lost, webhooks write their routes first: with an empty document receivers would answer 404 to their batches.
func TestStartWaitsForWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		store, started := f.storeWith("a/x"), time.Now()
		go func() {
			time.Sleep(20 * time.Second)
			f.mustSet(store, true, "a/x", route(0))
		}()
		f.mustStart(store)
		if took := time.Since(started); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		if got := f.written(); !slices.Equal(got, []string{"routes"}) {
			t.Errorf("written: %v", got)
		}
	})
}

// Webhooks that cannot write their routes, for want of a sink, do not keep receivers from getting ready.
func TestStartWaitsForWebhooksForAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, started := newFixture(t), time.Now()
		f.mustStart(f.storeWith("a/x"))
		if took := time.Since(started); took < time.Minute || took > 70*time.Second {
			t.Errorf("it took %s", took)
		}
		f.wantStored(map[string]string{"routes": ""})
	})
}

func TestStartTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, failures := newFixture(t), 2
		f.onWrite(func(string) error {
			if failures == 0 {
				return nil
			}
			failures--
			return errors.New("the API server is away")
		})
		f.mustStart(f.storeWith())
		f.wantStored(map[string]string{"routes": ""})
	})
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.storeWith("a/x").Start(ctx); err != nil {
		t.Error(err)
	}
}
