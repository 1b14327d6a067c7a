package routestore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

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

var firstSecret = types.NamespacedName{Namespace: "system", Name: "routes"}

// laggingCluster is a cluster whose cache of metadata shows a Secret as it was some writes ago, and that may lose the answers to writes.
type laggingCluster struct {
	live, cached client.Client

	mu       sync.Mutex
	versions []string // of the Secret, one for each write
	lag      int      // in writes
	lost     bool     // writes are made, and their answers are lost
}

func newLaggingCluster() *laggingCluster {
	c := &laggingCluster{}
	c.live = fake.NewClientBuilder().Build()
	c.cached = interceptor.NewClient(c.live.(client.WithWatch), interceptor.Funcs{Apply: c.apply, Get: c.get})
	return c
}

func (c *laggingCluster) apply(ctx context.Context, next client.WithWatch, object runtime.ApplyConfiguration, o ...client.ApplyOption) error {
	if err := next.Apply(ctx, object, o...); err != nil {
		return err
	}
	var secret corev1.Secret
	if err := c.live.Get(ctx, firstSecret, &secret); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions = append(c.versions, secret.ResourceVersion)
	if c.lost {
		return errors.New("no answer")
	}
	return nil
}

func (c *laggingCluster) get(ctx context.Context, next client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
	if err := next.Get(ctx, key, object, o...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, metadataOnly := object.(*metav1.PartialObjectMetadata); metadataOnly && c.lag > 0 && len(c.versions) > c.lag {
		object.SetResourceVersion(c.versions[len(c.versions)-1-c.lag])
	}
	return nil
}

func (c *laggingCluster) set(change func(*laggingCluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *laggingCluster) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.versions)
}

func (c *laggingCluster) store() *routestore.Store {
	return routestore.New(routestore.Options{
		Client: c.cached, Live: c.live, Name: firstSecret, Owner: "test", Now: func() time.Time { return time.Unix(0, 0) },
	})
}

func (c *laggingCluster) mustHave(t *testing.T, want []byte) {
	t.Helper()
	if got := c.document(t); string(got) != string(want) {
		t.Errorf("the Secret has\n%s\nwant\n%s", got, want)
	}
}

func (c *laggingCluster) document(t *testing.T) []byte {
	t.Helper()
	var secret corev1.Secret
	if err := c.live.Get(t.Context(), firstSecret, &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data[routes.Key]
}

// put writes a document past the store.
func (c *laggingCluster) put(t *testing.T, document []byte) {
	t.Helper()
	var secret corev1.Secret
	if err := c.live.Get(t.Context(), firstSecret, &secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[routes.Key] = document
	if err := c.live.Update(t.Context(), &secret); err != nil {
		t.Fatal(err)
	}
}

func mustSet(t *testing.T, store *routestore.Store, webhook string, list ...routes.Route) {
	t.Helper()
	if _, err := store.Set(t.Context(), webhook, list...); err != nil {
		t.Fatal(err)
	}
}

func mustRepair(t *testing.T, store *routestore.Store) {
	t.Helper()
	if err := store.Repair(t.Context(), firstSecret); err != nil {
		t.Fatal(err)
	}
}

// While thousands of objects are registered the cache shows each write of the store when later ones have been made.
func TestOwnWritesThatTheCacheShowsLateAreNotRepaired(t *testing.T) {
	t.Parallel()
	for _, lag := range []int{1, 2, 20} {
		t.Run(strconv.Itoa(lag), func(t *testing.T) {
			t.Parallel()
			c := newLaggingCluster()
			c.set(func(c *laggingCluster) { c.lag = lag })
			store := c.store()
			for i := range 100 {
				mustSet(t, store, fmt.Sprintf("a/%d", i), route(1))
				mustRepair(t, store)
			}
			if got := c.writes(); got != 100 {
				t.Errorf("100 changes took %d writes", got)
			}
			c.put(t, []byte("routes: []"))
			want := c.document(t)
			c.set(func(c *laggingCluster) { c.lag = 0 })
			mustRepair(t, store)
			if string(c.document(t)) == string(want) {
				t.Error("what somebody else wrote is not repaired")
			}
		})
	}
}

// A write may be made although its answer is lost, again and again. Nobody else is to blame.
func TestOwnWritesWithoutAnAnswerAreNotSomebodyElses(t *testing.T) {
	t.Parallel()
	c := newLaggingCluster()
	store := c.store()
	mustSet(t, store, "a/0", route(1))
	for i := range 50 {
		c.set(func(c *laggingCluster) { c.lost = true })
		if _, err := store.Set(t.Context(), "a/a", route(i)); err == nil {
			t.Fatal("a write without an answer counts as made")
		}
		c.set(func(c *laggingCluster) { c.lost = false })
		mustRepair(t, store)
		mustSet(t, store, "a/a", route(i))
		mustRepair(t, store)
	}
}

// A write that was on its way arrives after later ones. It is repaired, and does not count as somebody else's.
func TestOwnWritesThatArriveLateAreRepairedWithoutBlame(t *testing.T) {
	t.Parallel()
	c := newLaggingCluster()
	store := c.store()
	for i := range 30 {
		mustSet(t, store, "a/a", route(2*i))
		before := c.document(t)
		mustSet(t, store, "a/a", route(2*i+1))
		want := c.document(t)
		c.put(t, before)
		mustRepair(t, store)
		c.mustHave(t, want)
	}
}

// The operator that lost the lease may have writes on their way when the next one has read the Secrets. Those say the same, or are
// repaired.
func TestWritesOfTheFormerLeaderAreNotAFight(t *testing.T) {
	t.Parallel()
	c := newLaggingCluster()
	former := c.store()
	mustSet(t, former, "a/a", route(1))
	for range 30 { // leases change hands
		next := c.store()
		mustSet(t, next, "a/a", route(1))
		mustSet(t, former, "a/b", route(2))
		mustRepair(t, next)
		mustSet(t, next, "a/b", route(2))
		want := c.document(t)
		mustRepair(t, next)
		mustRepair(t, next)
		c.mustHave(t, want)
		former = next
		mustSet(t, former, "a/b")
	}
}

// Somebody who writes again and again what the store once wrote is no late write of the store.
func TestSomebodyWhoRepeatsAnEarlierDocumentIsBounded(t *testing.T) {
	t.Parallel()
	c := newLaggingCluster()
	store := c.store()
	mustSet(t, store, "a/a", route(1))
	earlier := c.document(t)
	mustSet(t, store, "a/a", route(2))
	repaired := 0
	for range 100 {
		c.put(t, earlier)
		if store.Repair(t.Context(), firstSecret) == nil {
			repaired++
		}
	}
	if repaired < 10 || repaired > 11 {
		t.Errorf("%d repairs within a minute", repaired)
	}
}
