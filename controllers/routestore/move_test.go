package routestore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

var errNoAnswer = errors.New("no answer")

// fullStore returns a store with nine routes in each Secret, except for some: a/100 to a/103 are in the first, a/104 to a/107 in the
// second and so on, and the others are spread evenly.
func (f *fixture) fullStore(without ...string) *routestore.Store {
	f.t.Helper()
	store := f.store()
	for i := range 9 * routes.MaxSecrets {
		f.mustSet(store, true, fmt.Sprint("a/", i+100), route(1))
	}
	for _, webhook := range without {
		f.mustSet(store, true, webhook)
	}
	return store
}

// secretsOf returns the Secrets that have a webhook's routes.
func (f *fixture) secretsOf(webhook string) []string {
	f.t.Helper()
	var names []string
	for secret, stored := range f.stored() {
		if slices.Contains(strings.Fields(stored), webhook) {
			names = append(names, secret)
		}
	}
	slices.Sort(names)
	return names
}

func (f *fixture) failWrites(names ...string) {
	f.onWrite(func(name string) error {
		if slices.Contains(names, name) {
			return errNoAnswer
		}
		return nil
	})
}

// Whatever write of a move fails, the routes are somewhere, and in the end in one place.
func TestFailedMoveLosesNoRoutes(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"routes", "routes-1"} {
		f := newFixture(t)
		store := f.fullStore("a/104", "a/105", "a/106", "a/107", "a/132", "a/164")
		if got := f.secretsOf("a/100"); !slices.Equal(got, []string{"routes"}) {
			t.Fatalf("the test does not test what it says: %v", got)
		}
		f.failWrites(failing)
		if changed, err := store.Set(t.Context(), "a/100", route(500)); err == nil {
			t.Errorf("%s: a move that was not written is said to be: changed %t", failing, changed)
		}
		if got := f.secretsOf("a/100"); len(got) == 0 {
			t.Errorf("%s: the routes are nowhere", failing)
		}
		f.onWrite(nil)
		f.mustSet(store, true, "a/100", route(500))
		if got := f.secretsOf("a/100"); !slices.Equal(got, []string{"routes-1"}) {
			t.Errorf("%s: the routes are in %v, want one place", failing, got)
		}
		f.mustSet(store, false, "a/100", route(500))
	}
}

// Of two moves in a row the second makes room for the first.
func TestSecondMoveMakesRoomForTheFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.fullStore("a/104", "a/105", "a/106", "a/108", "a/109", "a/110")
	f.failWrites("routes", "routes-1", "routes-2", "routes-3", "routes-4", "routes-5", "routes-6", "routes-7")
	for webhook, length := range map[string]int{"a/100": 300, "a/107": 500} {
		if _, err := store.Set(t.Context(), webhook, route(length)); !errors.Is(err, errNoAnswer) && !errors.Is(err, routestore.ErrFull) {
			t.Errorf("%s: error %v", webhook, err)
		}
	}
	for _, failing := range []string{"routes-2", "routes-1", "routes", ""} {
		f.failWrites(failing)
		_, _ = store.Set(t.Context(), "a/100", route(300))
		_, _ = store.Set(t.Context(), "a/107", route(500))
		for i := range 9 * routes.MaxSecrets {
			webhook := fmt.Sprint("a/", i+100)
			if slices.Contains([]string{"a/104", "a/105", "a/106", "a/108", "a/109", "a/110"}, webhook) {
				continue
			}
			if got := f.secretsOf(webhook); len(got) == 0 || failing == "" && len(got) != 1 {
				t.Errorf("without %q, %s is in %v", failing, webhook, got)
			}
		}
	}
}

func (f *fixture) createSecret(name, document string) {
	f.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name}, Data: map[string][]byte{routes.Key: []byte(document)}}
	if err := f.client.Create(f.t.Context(), secret); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) repair(store *routestore.Store, name string) {
	f.t.Helper()
	if err := store.Repair(f.t.Context(), types.NamespacedName{Namespace: "system", Name: name}); err != nil {
		f.t.Error(err)
	}
}

// A crash between the two writes of a move leaves routes in two Secrets. The next start removes the copy.
func TestCopyLeftByACrashIsRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	line := "routes:\n- {name: a/a, source: /s, sink: {uri: http://s.example}, url: https://h.example/%s}\n"
	f.createSecret("routes", fmt.Sprintf(line, "x"))
	f.createSecret("routes-1", fmt.Sprintf(line, "stale"))
	store := f.store()
	f.mustSet(store, true, "a/a", route(1))
	f.wantStored(map[string]string{"routes": "a/a", "routes-1": ""})
	f.mustSet(store, false, "a/a", route(1))
}

// A Secret that somebody writes later, or had damaged before, is repaired when the watch reports it.
func TestForeignChangesAreRepaired(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.createSecret("routes-2", "spoilt")
	store := f.store()
	f.repair(store, "routes-2") // before anything was set
	f.wantStored(map[string]string{"routes-2": ""})
	f.mustSet(store, true, "a/a", route(1))
	f.createSecret("routes-1", "routes:\n- {name: a/evil, source: /s, sink: {uri: http://s.example}, url: https://h.example/x}\n")
	f.repair(store, "routes-1")
	f.wantStored(map[string]string{"routes": "a/a", "routes-1": "", "routes-2": ""})
}

// Routes of objects that were deleted while no operator ran are dropped at the start.
func TestRoutesOfDeletedObjectsAreDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.store()
	f.mustSet(old, true, "a/a", route(1), route(2))
	f.mustSet(old, true, "a/gone", route(1), route(2))
	err := errNoAnswer
	store := routestore.New(routestore.Options{
		Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test",
		Webhooks: func(context.Context) (map[string]bool, error) { return map[string]bool{"a/a": true}, err },
	})
	if _, err := store.Set(t.Context(), "a/a", route(1), route(2)); !errors.Is(err, errNoAnswer) {
		t.Errorf("got error %v", err)
	}
	err = nil
	f.repair(store, "routes")
	f.wantStored(map[string]string{"routes": "a/a a/a~1"})
}

// New webhooks leave room for existing ones to grow.
func TestNewWebhooksLeaveRoomForExistingOnes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.store()
	n := 0
	for ; ; n++ {
		if _, err := store.Set(t.Context(), fmt.Sprint("a/", n+100), route(1)); errors.Is(err, routestore.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 10*routes.MaxSecrets {
		t.Errorf("%d webhooks found room, want ten in each Secret", n)
	}
	for number := range routes.MaxSecrets {
		f.mustSet(store, true, strings.Fields(f.stored()[routes.SecretName("routes", number)])[0], route(100))
	}
}
