package mandrillwebhook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
)

// writesIn counts calls that change something at Mandrill.
func writesIn(calls []string) int {
	n := 0
	for _, call := range calls {
		if !slices.Contains([]string{"webhooks/list", "webhooks/info", "inbound/domains", "inbound/routes", "inbound/check-domain"}, call) {
			n++
		}
	}
	return n
}

// An object that changes again and again, in whatever it wants at Mandrill, is written there at once and then at most once per
// registration.Spacing. The last state wins, and the writes never pause for longer.
func TestChangesThatFollowEachOtherShareAWrite(t *testing.T) {
	t.Parallel()
	const changes, interval = 100, 200 * time.Millisecond
	for name, test := range map[string]struct {
		change  func(f *fixture, number int)
		correct func(f *fixture) bool
	}{
		"events": {
			change: func(f *fixture, number int) {
				f.edit(subscribed([]v1alpha1.EventName{"open", "click"}[number%2]))
			},
			correct: func(f *fixture) bool { return slices.Equal(f.account.Webhooks()[0].Events, []string{"click"}) },
		},
		"description": {
			change: func(f *fixture, number int) {
				f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = fmt.Sprint("change ", number) })
			},
			correct: func(f *fixture) bool { return f.account.Webhooks()[0].Description == "change 99" },
		},
		"URL": {
			change: func(f *fixture, number int) {
				f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = fmt.Sprint(f.receiver.URL, "/", number) })
			},
			correct: func(f *fixture) bool { return strings.HasSuffix(f.account.Webhooks()[0].URL, "/99") },
		},
		"secret in the URL": {
			change: func(f *fixture, number int) {
				secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "hook"})
				secret.Data = map[string][]byte{"token": fmt.Append(nil, "token-", number)}
				if err := f.client.Update(f.t.Context(), secret); err != nil {
					f.t.Fatal(err)
				}
			},
			correct: func(f *fixture) bool { return strings.HasSuffix(f.account.Webhooks()[0].URL, "=token-99") },
		},
		"inbound routes": {
			change: func(f *fixture, number int) { f.edit(inbound(fmt.Sprint("p", number, "@a.example"))) },
			correct: func(f *fixture) bool {
				routes := f.account.Routes("a.example")
				return len(routes) == 1 && routes[0].Pattern == "p99"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.createURLSecret("hook", "first")
			f.apply(func(o *v1alpha1.MandrillWebhook) {
				if name == "secret in the URL" {
					urlSecret("hook")(o)
				}
				if name == "inbound routes" {
					inbound("first@a.example")(o)
				}
			})
			f.reconcileUntilDone()
			if name == "inbound routes" {
				f.validMX("a.example")
			}
			f.mustReconcile()
			began := len(f.emulator.Calls())
			for number := range changes {
				test.change(f, number)
				if _, err := f.reconcile(); err != nil {
					t.Fatal(name, err)
				}
				if number == 0 && writesIn(f.emulator.Calls()[began:]) == 0 {
					t.Errorf("%s: the first change waits:\n%s", name, f.conditions())
				}
				f.assertNever(name, v1alpha1.ReasonWritesPaused)
				f.advance(interval)
			}
			f.advance(registration.Spacing)
			f.reconcileUntilDone()
			f.mustReconcile()
			if !test.correct(f) {
				t.Errorf("%s: the last change did not win: %+v", name, f.account.Webhooks())
			}
			made := f.emulator.Calls()[began:]
			atMost := 2 + int(changes*interval/registration.Spacing)
			if name == "inbound routes" {
				atMost *= 2 // the earlier route is deleted
			}
			t.Logf("%s: %d changes within %s made %d writes and %d calls", name, changes, changes*interval, writesIn(made), len(made))
			if n := writesIn(made); n > atMost {
				t.Errorf("%s: %d changes made %d writes, want at most %d: %v", name, changes, n, atMost, made)
			}
		})
	}
}

// assertNever asserts that Ready does not have a reason.
func (f *fixture) assertNever(what, reason string) {
	f.t.Helper()
	if text := f.conditions(); strings.Contains(text, " "+reason+":") {
		f.t.Fatalf("%s: the conditions are\n%s", what, text)
	}
}

// A change that waits is no success, and says what it waits for.
func TestChangeThatWaitsIsInProgress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	for _, description := range []string{"first", "second"} {
		f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = description })
		f.advance(time.Second)
		_, _ = f.reconcile()
	}
	result, err := f.reconcile()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > registration.Spacing {
		t.Errorf("got %v, %v; want another try within %s", result, err, registration.Spacing)
	}
	f.assert("Registered", "False", "Progressing", "an earlier change went to Mandrill less than 6s ago, and this one follows")
	f.assert("Reconciling", "True", "Progressing", "")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = "first" }) // as Mandrill has it: nothing to wait for
	f.mustReconcile()
}
