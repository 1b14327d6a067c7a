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

// full is a store with nine routes in each Secret, but for some: a/100 to a/103 are in the first, a/104 to a/107 in the
// second and so on, and the others are spread evenly.
func (w *world) full(without ...string) *routestore.Store {
	w.t.Helper()
	store := w.store()
	for i := range 9 * routes.MaxSecrets {
		w.set(store, true, fmt.Sprint("a/", i+100), route(1))
	}
	for _, webhook := range without {
		w.set(store, true, webhook)
	}
	return store
}

// in returns the Secrets that have a webhook's routes.
func (w *world) in(webhook string) []string {
	w.t.Helper()
	var names []string
	for secret, stored := range w.stored() {
		if slices.Contains(strings.Fields(stored), webhook) {
			names = append(names, secret)
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) failing(names ...string) {
	w.onWrite(func(name string) error {
		if slices.Contains(names, name) {
			return errNoAnswer
		}
		return nil
	})
}

// Whatever write of a move fails, the routes are somewhere, and in the end in one place.
func TestMoveThatFails(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"routes", "routes-1"} {
		w := newWorld(t)
		store := w.full("a/104", "a/105", "a/106", "a/107", "a/132", "a/164")
		if got := w.in("a/100"); !slices.Equal(got, []string{"routes"}) {
			t.Fatalf("the test does not test what it says: %v", got)
		}
		w.failing(failing)
		if changed, err := store.Set(t.Context(), "a/100", route(500)); err == nil {
			t.Errorf("%s: a move that was not written is said to be: changed %t", failing, changed)
		}
		if got := w.in("a/100"); len(got) == 0 {
			t.Errorf("%s: the routes are nowhere", failing)
		}
		w.onWrite(nil)
		w.set(store, true, "a/100", route(500))
		if got := w.in("a/100"); !slices.Equal(got, []string{"routes-1"}) {
			t.Errorf("%s: the routes are in %v, want one place", failing, got)
		}
		w.set(store, false, "a/100", route(500))
	}
}

// Two moves in a row, of which the second makes room for the first.
func TestMovesInARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.full("a/104", "a/105", "a/106", "a/108", "a/109", "a/110")
	w.failing("routes", "routes-1", "routes-2", "routes-3", "routes-4", "routes-5", "routes-6", "routes-7")
	for webhook, length := range map[string]int{"a/100": 300, "a/107": 500} {
		if _, err := store.Set(t.Context(), webhook, route(length)); !errors.Is(err, errNoAnswer) && !errors.Is(err, routestore.ErrFull) {
			t.Errorf("%s: error %v", webhook, err)
		}
	}
	for _, failing := range []string{"routes-2", "routes-1", "routes", ""} {
		w.failing(failing)
		_, _ = store.Set(t.Context(), "a/100", route(300))
		_, _ = store.Set(t.Context(), "a/107", route(500))
		for i := range 9 * routes.MaxSecrets {
			webhook := fmt.Sprint("a/", i+100)
			if slices.Contains([]string{"a/104", "a/105", "a/106", "a/108", "a/109", "a/110"}, webhook) {
				continue
			}
			if got := w.in(webhook); len(got) == 0 || failing == "" && len(got) != 1 {
				t.Errorf("without %q, %s is in %v", failing, webhook, got)
			}
		}
	}
}

func (w *world) createSecret(name, document string) {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name}, Data: map[string][]byte{routes.Key: []byte(document)}}
	if err := w.client.Create(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) repair(store *routestore.Store, name string) {
	w.t.Helper()
	if err := store.Repair(w.t.Context(), types.NamespacedName{Namespace: "system", Name: name}); err != nil {
		w.t.Error(err)
	}
}

// A crash between the two writes of a move leaves routes in two places. The copy goes with the next look.
func TestCopyAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := "routes:\n- {name: a/a, source: /s, sink: {uri: http://s.example}, url: https://h.example/%s}\n"
	w.createSecret("routes", fmt.Sprintf(line, "x"))
	w.createSecret("routes-1", fmt.Sprintf(line, "stale"))
	store := w.store()
	w.set(store, true, "a/a", route(1))
	w.want(map[string]string{"routes": "a/a", "routes-1": ""})
	w.set(store, false, "a/a", route(1))
}

// What comes into a Secret later, or was spoilt before, is put right when the watch shows it.
func TestRepairOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createSecret("routes-2", "spoilt")
	store := w.store()
	w.repair(store, "routes-2") // before anything was set
	w.want(map[string]string{"routes-2": ""})
	w.set(store, true, "a/a", route(1))
	w.createSecret("routes-1", "routes:\n- {name: a/evil, source: /s, sink: {uri: http://s.example}, url: https://h.example/x}\n")
	w.repair(store, "routes-1")
	w.want(map[string]string{"routes": "a/a", "routes-1": "", "routes-2": ""})
}

// Routes of objects that went while nobody looked are dropped at the start.
func TestRoutesOfObjectsThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.store()
	w.set(old, true, "a/a", route(1), route(2))
	w.set(old, true, "a/gone", route(1), route(2))
	err := errNoAnswer
	store := routestore.New(routestore.Options{
		Client: w.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test",
		Webhooks: func(context.Context) (map[string]bool, error) { return map[string]bool{"a/a": true}, err },
	})
	if _, err := store.Set(t.Context(), "a/a", route(1), route(2)); !errors.Is(err, errNoAnswer) {
		t.Errorf("got error %v", err)
	}
	err = nil
	w.repair(store, "routes")
	w.want(map[string]string{"routes": "a/a a/a~1"})
}

// New webhooks leave room for those that are there.
func TestRoomForGrowth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := w.store()
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
		w.set(store, true, strings.Fields(w.stored()[routes.SecretName("routes", number)])[0], route(100))
	}
}
