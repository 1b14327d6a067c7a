package account_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// inboundAPI answers lists of inbound domains and routes with what the test says.
type inboundAPI struct {
	scriptedAPI
	domains, routes []string
	lists           int
}

func (i *inboundAPI) InboundDomains(context.Context) ([]mandrill.InboundDomain, error) {
	i.lists++
	var list []mandrill.InboundDomain
	for _, name := range i.domains {
		list = append(list, mandrill.InboundDomain{Domain: name})
	}
	return list, nil
}

func (i *inboundAPI) InboundRoutes(context.Context, string) ([]mandrill.InboundRoute, error) {
	i.lists++
	var list []mandrill.InboundRoute
	for _, id := range i.routes {
		list = append(list, mandrill.InboundRoute{ID: id})
	}
	return list, nil
}

func (i *inboundAPI) DeleteInboundRoute(context.Context, string) (mandrill.InboundRoute, error) {
	return mandrill.InboundRoute{}, nil
}

func (i *inboundAPI) AddInboundRoute(context.Context, string, string, string) (mandrill.InboundRoute, error) {
	return mandrill.InboundRoute{ID: "new"}, nil
}

func (i *inboundAPI) AddInboundDomain(context.Context, string) (mandrill.InboundDomain, error) {
	return mandrill.InboundDomain{}, nil
}

// accountWith returns an account with the API of a test.
func accountWith(t *testing.T, api account.API) *account.Account {
	t.Helper()
	a, err := account.NewPool(account.Options{NewAPI: func(string) (account.API, error) { return api, nil }}).Account("k")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A list of inbound domains or routes that lacks what was there, or what an object has recorded, is believed only after a pause,
// when a second one in a row lacks the same.
func TestInboundLossesAreConfirmed(t *testing.T) {
	t.Parallel()
	all := []string{"1", "2", "3"}
	for _, step := range []struct {
		name  string
		lists [][]string // of routes, each a while after the one before
		fails []bool
	}{
		{"empty once", [][]string{all, {}, all}, []bool{false, true, false}},
		{"empty", [][]string{all, {}, {}}, []bool{false, true, false}},
		{"one is missing", [][]string{all, {"1", "2"}, {"1", "2"}, {"1"}}, []bool{false, true, false, true}},
		{"another is missing the second time", [][]string{all, {"1", "2"}, {"2", "3"}, {"2", "3"}}, []bool{false, true, true, false}},
		{"grown", [][]string{all, {"1", "2", "3", "4"}}, []bool{false, false}},
		{"with an unreadable element", [][]string{all, {"1", "2", ""}, {"1", "2", ""}, {"1", "2", "3", ""}}, []bool{false, true, true, false}},
		{"none is readable", [][]string{{"", ""}}, []bool{true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &inboundAPI{domains: []string{"a.example"}}
			a := accountWith(t, api)
			for i, list := range step.lists {
				api.routes = list
				view, err := a.Inbound(t.Context(), -1, "a.example")
				if (err != nil) != step.fails[i] {
					t.Errorf("%s: list %d: error %v", step.name, i, err)
				}
				if err != nil && !mandrill.Temporary(err) {
					t.Errorf("%s: %v is not temporary", step.name, err)
				}
				want := slices.DeleteFunc(slices.Clone(list), func(id string) bool { return id == "" })
				if err == nil && len(view["a.example"].Routes) != len(want) {
					t.Errorf("%s: list %d has %+v", step.name, i, view)
				}
				time.Sleep(2 * time.Second)
			}
		})
	}
}

func TestInboundDomainsAreConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &inboundAPI{domains: []string{"A.example", "b.example"}}
		a := accountWith(t, api)
		names := func(fails bool, want ...string) {
			t.Helper()
			got, err := a.InboundDomains(t.Context(), -1)
			if (err != nil) != fails || !fails && !slices.Equal(got, want) {
				t.Errorf("got %q and error %v, want %q", got, err, want)
			}
		}
		names(false, "a.example", "b.example")
		api.domains = nil
		names(true)
		lists := api.lists
		names(true) // too soon to confirm anything
		if api.lists != lists {
			t.Error("the list was requested again at once")
		}
		time.Sleep(2 * time.Second)
		names(false)
		if err := a.AddInboundDomain(t.Context(), "a.example"); err != nil {
			t.Fatal(err)
		}
		names(true) // what was added must be there
	})
}

// After a restart, what an object has recorded counts as known.
func TestRecordedInboundRouteIsExpected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &inboundAPI{domains: []string{"a.example"}}
		a := accountWith(t, api)
		inbound := func() error {
			a.ExpectInbound("a.example", "7")
			_, err := a.Inbound(t.Context(), -1, "a.example")
			time.Sleep(2 * time.Second)
			return err
		}
		for i, fails := range []bool{true, false, false} { // and once it is known to be gone, it is not expected again
			if err := inbound(); (err != nil) != fails {
				t.Errorf("list %d: %v", i, err)
			}
		}
		api.routes = []string{"7", "new"}
		if err := a.AddInboundRoute(t.Context(), "a.example", "*", "u"); err != nil {
			t.Fatal(err)
		}
		if err := inbound(); err != nil {
			t.Error(err)
		}
		api.routes = []string{"new"}
		if err := a.DeleteInboundRoute(t.Context(), "7"); err != nil {
			t.Fatal(err)
		}
		if err := inbound(); err != nil {
			t.Errorf("what was deleted here is missed: %v", err)
		}
		api.routes = nil
		if err := inbound(); err == nil {
			t.Error("what was added here is not missed")
		}
	})
}

// Elements of lists without a readable ID are logged by their positions: once, and others at most once an hour.
func TestUnreadableElementsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		ctx := log.IntoContext(t.Context(), funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{}))
		api := &inboundAPI{domains: []string{"a.example", ""}, routes: []string{"", "1", ""}}
		webhooks := []mandrill.Webhook{{ID: 1}, {}}
		api.list = func(context.Context) ([]mandrill.Webhook, error) { return slices.Clone(webhooks), nil }
		a := accountWith(t, api)
		look := func(want ...string) {
			t.Helper()
			lines = nil
			for range 20 {
				if _, err := a.Inbound(ctx, -1, "a.example"); err != nil {
					t.Fatal(err)
				}
				if list, err := a.Webhooks(ctx, -1); err != nil || len(list) != 1 {
					t.Fatalf("got %+v, error %v", list, err)
				}
			}
			text := strings.Join(lines, "\n")
			if len(lines) != len(want) {
				t.Errorf("logged %s, want %q", text, want)
			}
			for _, part := range want {
				if !strings.Contains(text, part) {
					t.Errorf("logged %s, want %q", text, part)
				}
			}
		}
		line := func(list string, positions ...int) string {
			return fmt.Sprintf(`"list"=%q "positions"=%v`, list, positions)
		}
		look(line("inbound/domains", 2), line("inbound/routes of a.example", 1, 3), line("webhooks/list", 2))
		time.Sleep(2 * time.Hour)
		look()
		webhooks = []mandrill.Webhook{{}, {ID: 1}}
		look(line("webhooks/list", 1))
		webhooks = []mandrill.Webhook{{ID: 1}, {}}
		look() // within the hour
		time.Sleep(time.Hour)
		look(line("webhooks/list", 2))
	})
}

// A list of webhooks of which none has a readable ID is not an empty one.
func TestUnreadableListIsAnError(t *testing.T) {
	t.Parallel()
	for _, answer := range [][]mandrill.Webhook{{{}}, {{}, {}}} {
		s := &scriptedAPI{list: func(context.Context) ([]mandrill.Webhook, error) { return answer, nil }}
		if list, err := accountWith(t, s).Webhooks(t.Context(), -1); err == nil || !mandrill.Temporary(err) {
			t.Errorf("got %+v, error %v", list, err)
		}
	}
}
