package account_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
)

// An object hears of other webhooks at its own URL and at the places of its pending registrations, and of no others.
func TestObjectsHearOfOthersAtTheirPlaces(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20*time.Millisecond, func(o *account.Options) {
		o.Place = func(url string) string { place, _, _ := strings.Cut(url, "="); return place }
	})
	a := accountOf(t, f, "a")
	own, err := a.Add(t.Context(), f.spec("/own?x=1"))
	if err != nil {
		t.Fatal(err)
	}
	object := types.NamespacedName{Namespace: "shop", Name: "own"}
	a.Follow(object, own)
	a.FollowOthers(object, []string{own.URL, f.hook.URL + "/before?token=hidden"}, nil)
	if got := f.pool.Others(); got != 0 {
		t.Errorf("there are %d others", got)
	}
	f.start(t)
	add := func(path string) {
		t.Helper()
		if _, err := a.Add(t.Context(), f.spec(path)); err != nil {
			t.Fatal(err)
		}
	}
	add("/own?x=2")                                                            // at another URL, although its place is the same
	for begin := len(f.emulator.Calls()); len(f.emulator.Calls()) < begin+3; { // lists
		select {
		case <-f.changed:
			t.Fatal("the object hears of a webhook at another URL")
		case <-time.After(5 * time.Millisecond):
		}
	}
	add("/before?token=secret")
	if got := <-f.changed; got != object {
		t.Errorf("%s changed", got)
	}
	list, err := a.Webhooks(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a.FollowOthers(object, []string{own.URL, f.hook.URL + "/before?token=hidden"}, slices.Clone(list))
	if got := f.pool.Others(); got != 1 {
		t.Errorf("there are %d others", got)
	}
}
