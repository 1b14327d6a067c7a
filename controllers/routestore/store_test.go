package routestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

// fixture is a cluster whose writes are recorded and may be delayed or fail.
type fixture struct {
	t      *testing.T
	client client.Client

	mu     sync.Mutex
	writes []string                // names of Secrets
	before func(name string) error // called before each write
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.client = fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, o ...client.ApplyOption) error {
			name := *object.(interface{ GetName() *string }).GetName()
			f.mu.Lock()
			f.writes = append(f.writes, name)
			before := f.before
			f.mu.Unlock()
			if before != nil {
				if err := before(name); err != nil {
					return err
				}
			}
			return c.Apply(ctx, object, o...)
		},
	}).Build()
	return f
}

// store returns a store that has just started. Four routes reach the soft limit of a Secret, eleven the hard one.
func (f *fixture) store() *routestore.Store {
	return routestore.New(routestore.Options{
		Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test", SoftLimit: 430, HardLimit: 1150,
	})
}

func (f *fixture) onWrite(before func(string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.writes = before, nil
}

func (f *fixture) written() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.writes...)
}

// stored returns what receivers see: the names of the routes in each Secret.
func (f *fixture) stored() map[string]string {
	f.t.Helper()
	var list corev1.SecretList
	if err := f.client.List(f.t.Context(), &list); err != nil {
		f.t.Fatal(err)
	}
	found := map[string]string{}
	for _, secret := range list.Items {
		document, err := routes.Decode(secret.Data[routes.Key])
		if err != nil {
			f.t.Fatal(err)
		}
		var names []string
		for _, route := range document.Routes {
			names = append(names, route.Name)
		}
		found[secret.Name] = strings.Join(names, " ")
	}
	return found
}

func (f *fixture) wantStored(want map[string]string) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.stored()); diff != "" {
		f.t.Errorf("the Secrets have (-want +got):\n%s", diff)
	}
}

func (f *fixture) mustSet(store *routestore.Store, want bool, webhook string, list ...routes.Route) {
	f.t.Helper()
	if changed, err := store.Set(f.t.Context(), webhook, list...); err != nil || changed != want {
		f.t.Errorf("setting the routes of %s: changed %t, want %t; error %v", webhook, changed, want, err)
	}
}

// route takes some 97 bytes and its length.
func route(length int) routes.Route {
	return routes.Route{URL: "https://h.example/" + strings.Repeat("x", length), Source: "/s", Sink: routes.Sink{URI: "http://s.example"}}
}

func TestSetAndGet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.store()
	f.mustSet(store, false, "a/none")
	f.mustSet(store, true, "a/b", route(1), route(2))
	f.mustSet(store, false, "a/b", route(1), route(2))
	f.mustSet(store, true, "a/a", route(3))
	f.wantStored(map[string]string{"routes": "a/a a/b a/b~1"})
	got, err := store.Get(t.Context(), "a/b")
	if err != nil || len(got) != 2 || got[1].Name != "a/b~1" || got[1].URL != route(2).URL {
		t.Errorf("got %+v, error %v", got, err)
	}
	f.onWrite(nil)
	again := f.store() // has nothing in memory
	f.mustSet(again, false, "a/b", route(1), route(2))
	f.mustSet(again, true, "a/b", route(1))
	f.mustSet(again, true, "a/a")
	f.mustSet(again, false, "a/a")
	if got, err := again.Get(t.Context(), "a/a"); err != nil || got != nil {
		t.Errorf("removed routes are still there: %+v, error %v", got, err)
	}
	f.wantStored(map[string]string{"routes": "a/b"})
	if diff := cmp.Diff([]string{"routes", "routes"}, f.written()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	f.mustSet(again, true, "a/b")
	f.wantStored(map[string]string{"routes": ""})
	if _, err := again.Set(t.Context(), "a/c", routes.Route{}); err == nil {
		t.Error("a route that nobody can use was written")
	}
}

// Changes that are made while a write is in flight are written together.
func TestChangesAreGrouped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := routestore.New(routestore.Options{Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test"})
	began, goOn := make(chan struct{}, 100), make(chan struct{})
	f.onWrite(func(string) error { began <- struct{}{}; <-goOn; return nil })
	const n = 50
	done := make(chan error, n+1)
	set := func(i int) {
		_, err := store.Set(t.Context(), fmt.Sprint("a/", i), route(i))
		done <- err
	}
	go set(n)
	<-began
	for i := range n {
		go set(i)
	}
	goOn <- struct{}{}
	<-began // the second write has those that came by then
	close(goOn)
	for range n + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(strings.Fields(f.stored()["routes"])); got != n+1 {
		t.Errorf("%d routes are stored, want %d", got, n+1)
	}
	if got := len(f.written()); got > n/2 {
		t.Errorf("%d writes for %d changes", got, n+1)
	}
}

func TestFailedWriteIsRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.store()
	failure := errors.New("no answer")
	f.onWrite(func(string) error { return failure })
	if _, err := store.Set(t.Context(), "a/a", route(1)); !errors.Is(err, failure) {
		t.Errorf("got error %v", err)
	}
	f.onWrite(nil)
	f.mustSet(store, true, "a/a", route(1)) // it is in memory, and not where it belongs
	f.wantStored(map[string]string{"routes": "a/a"})
	f.onWrite(func(string) error { return failure })
	if _, err := store.Set(t.Context(), "a/a"); !errors.Is(err, failure) {
		t.Errorf("got error %v", err)
	}
	f.onWrite(nil)
	f.mustSet(store, true, "a/a")
	f.wantStored(map[string]string{"routes": ""})
}

func TestRoutesSpreadOverSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.store()
	for i := range 4 * routes.MaxSecrets {
		f.mustSet(store, true, fmt.Sprint("a/", i+100), route(1))
	}
	if got := f.stored(); len(got) != routes.MaxSecrets || got["routes"] != "a/100 a/101 a/102 a/103" || got["routes-1"] != "a/104 a/105 a/106 a/107" {
		t.Errorf("the Secrets have %v", got)
	}
	for i := range routes.MaxSecrets { // beyond the soft limit: evenly
		f.mustSet(store, true, fmt.Sprint("a/", i+200), route(1))
	}
	if got := f.stored(); got["routes"] != "a/100 a/101 a/102 a/103 a/200" || got["routes-7"] != "a/128 a/129 a/130 a/131 a/207" {
		t.Errorf("the Secrets have %v", got)
	}
	// one that grows too large for its Secret moves, and is never missing
	present := func(name string) error {
		for _, names := range f.stored() {
			if strings.Contains(names, "a/100") {
				return nil
			}
		}
		t.Errorf("before %s was written a/100 was nowhere", name)
		return nil
	}
	f.mustSet(store, true, "a/101")
	f.mustSet(store, true, "a/201")
	f.mustSet(store, true, "a/104")
	f.mustSet(store, true, "a/105")
	f.onWrite(present)
	f.mustSet(store, true, "a/100", route(780))
	if diff := cmp.Diff([]string{"routes-1", "routes"}, f.written()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if got := f.stored(); got["routes"] != "a/102 a/103 a/200" || got["routes-1"] != "a/100 a/106 a/107" {
		t.Errorf("the Secrets have %v", got)
	}
	f.onWrite(nil)
	if _, err := store.Set(t.Context(), "a/102", route(1100)); !errors.Is(err, routestore.ErrFull) {
		t.Errorf("got error %v, want that there is no room", err)
	}
	if _, err := store.Set(t.Context(), "a/new", route(900)); !errors.Is(err, routestore.ErrFull) {
		t.Errorf("got error %v, want that there is no room", err)
	}
	f.mustSet(store, false, "a/102", route(1)) // as it was
	f.mustSet(f.store(), false, "a/100", route(780))
	for _, name := range []string{"a/106", "a/107", "a/100"} { // makes room
		f.mustSet(store, true, name)
	}
	f.mustSet(store, true, "a/new", route(900))
}

// Routes in the Secrets are kept when the store starts, by any writer and in any form.
func TestExistingSecretsAreKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	create := func(name, document string) {
		t.Helper()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name}, Data: map[string][]byte{routes.Key: []byte(document)}}
		if err := f.client.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	create("routes", "routes:\n- name: a/a\n  source: /s\n  sink:\n    uri: http://s.example\n  url: https://h.example/x\n")
	create("routes-1", "somebody: was here")
	create("routes-2", "routes:\n- {name: a/a, source: /s, sink: {uri: http://s.example}, url: https://h.example/x}\n- {name: a/b, source: /s, sink: {uri: http://s.example}, url: https://h.example/x}\n")
	store := f.store()
	f.mustSet(store, true, "a/a", route(1)) // there is a copy
	f.mustSet(store, false, "a/b", route(1))
	f.mustSet(store, true, "a/c", route(1))
	f.wantStored(map[string]string{"routes": "a/a a/c", "routes-1": "", "routes-2": "a/b"})

	f.onWrite(nil)
	failing := interceptor.NewClient(f.client.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("no answer")
		},
	})
	blind := routestore.New(routestore.Options{Client: failing, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test"})
	if _, err := blind.Set(t.Context(), "a/d", route(1)); err == nil || len(f.written()) > 0 {
		t.Errorf("routes were written over others that could not be read, error %v", err)
	}
	if _, err := blind.Get(t.Context(), "a/a"); err == nil {
		t.Error("routes that could not be read are said to be none")
	}
}

func TestRepairRewritesChangedSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store, name := f.store(), types.NamespacedName{Namespace: "system", Name: "routes"}
	repair := func(wantWrites int) {
		t.Helper()
		f.onWrite(nil)
		if err := store.Repair(t.Context(), name); err != nil {
			t.Error(err)
		}
		if got := len(f.written()); got != wantWrites {
			t.Errorf("%d writes, want %d", got, wantWrites)
		}
	}
	repair(0) // nothing is known yet
	f.mustSet(store, true, "a/a", route(1))
	repair(0)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: map[string][]byte{routes.Key: []byte("routes: []")}}
	if err := f.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	repair(1)
	f.wantStored(map[string]string{"routes": "a/a"})
	repair(0)
	if err := f.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	repair(1)
	f.wantStored(map[string]string{"routes": "a/a"})
	if !store.Owns(name) || !store.Owns(types.NamespacedName{Namespace: "system", Name: "routes-7"}) || store.Owns(types.NamespacedName{Namespace: "system", Name: "routes-8"}) {
		t.Error("the store does not know its Secrets")
	}
	if err := store.Repair(t.Context(), types.NamespacedName{Namespace: "system", Name: "other"}); err != nil {
		t.Error(err)
	}
	if err := f.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	f.onWrite(func(string) error { return errors.New("no answer") })
	if err := store.Repair(t.Context(), name); err == nil {
		t.Error("a repair that failed is said to have succeeded")
	}
}

// Two operators with the same Secrets revert each other's changes no more than ten times a minute, and the log says why.
func TestRepairsOfSharedSecretsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := time.Unix(0, 0)
	name := types.NamespacedName{Namespace: "system", Name: "routes"}
	store := routestore.New(routestore.Options{Client: f.client, Name: name, Owner: "test", Now: func() time.Time { return now }})
	f.mustSet(store, true, "a/a", route(1))
	f.onWrite(nil)
	var last error
	for range 100 {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: map[string][]byte{routes.Key: []byte("routes: []")}}
		if err := f.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		last = store.Repair(t.Context(), name)
	}
	if got := len(f.written()); got != 10 || last == nil || !strings.Contains(last.Error(), "--routes-secret of its own") {
		t.Errorf("%d writes in a minute, and the error %v", got, last)
	}
	now = now.Add(time.Minute)
	if err := store.Repair(t.Context(), name); err != nil {
		t.Error(err)
	}
	f.wantStored(map[string]string{"routes": "a/a"})
}

// A namespace has a share of the Secrets, of which an eighth is for webhooks that exist. Others are not held up by it.
func TestNamespaceHasAShare(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	options := routestore.Options{
		Client: f.client, Name: types.NamespacedName{Namespace: "system", Name: "routes"}, Owner: "test", NamespaceLimit: 1000,
	}
	route := func(size int) routes.Route {
		return routes.Route{URL: "https://h.example/" + strings.Repeat("x", size), Source: "/s", Sink: routes.Sink{URI: "http://s.example"}}
	}
	set := func(store *routestore.Store, webhook string, size int) error {
		_, err := store.Set(t.Context(), webhook, route(size))
		return err
	}
	store := routestore.New(options)
	for range 2 { // the second time with a store that has just started
		for _, step := range []struct {
			webhook string
			size    int
			full    bool
		}{
			{"greedy/a", 650, false}, {"greedy/b", 100, true}, {"greedy/a", 800, false}, {"greedy/a", 1000, true}, {"other/a", 650, false}, {"greed/y", 650, false},
		} {
			if err := set(store, step.webhook, step.size); errors.Is(err, routestore.ErrNamespaceFull) != step.full || !step.full && err != nil {
				t.Errorf("%+v: got %v", step, err)
			}
		}
		store = routestore.New(options)
	}
	if _, err := store.Set(t.Context(), "greedy/a"); err != nil {
		t.Fatal(err)
	}
	if err := set(store, "greedy/b", 100); err != nil {
		t.Errorf("what a webhook left is not free: %v", err)
	}
}
