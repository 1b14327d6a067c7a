package mandrillwebhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

func withUserinfo(url, userinfo string) string {
	return strings.Replace(url, "://", "://"+userinfo+"@", 1)
}

// A difference that a write did not remove is reported, and not written again, though each write gives another key.
func TestDifferenceThatStaysIsReported(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	writes := 0
	o.stored = func(w *mandrill.Webhook) {
		w.Description, w.AuthKey = strings.TrimSpace(w.Description), fmt.Sprint("key-", o.writes)
	}
	f := newOddFixture(t, o)
	f.apply(func(w *v1alpha1.MandrillWebhook) { w.Spec.Description = "Shop mail\n" })
	for round := range 5 {
		f.hourLater().mustReconcile()
		f.assert("Ready", "True", "StoredDifferently", `Mandrill stores the description as "Shop mail"`)
		if round == 0 {
			writes = o.writes
		}
		f.restart()
	}
	if o.writes != writes || writes != 1 {
		t.Errorf("%d writes, %d of them at first", o.writes, writes)
	}
	f.account.Edit(101, func(spec *mandrill.WebhookSpec) { spec.Description = "somebody else's" })
	f.hourLater().mustReconcile()
	if got := f.account.Webhooks()[0].Description; got != "Shop mail\n" || o.writes != 2 {
		t.Errorf("after an edit Mandrill has %q, after %d writes", got, o.writes)
	}
	f.edit(func(w *v1alpha1.MandrillWebhook) { w.Spec.Description = "Shop mail" })
	f.mustReconcile()
	f.assert("Ready", "True", "Succeeded", "")
}

// Batches for another URL than the registered one would be refused, so the object says which URL to write.
func TestChangedURLIsReported(t *testing.T) {
	t.Parallel()
	o := &oddAPI{stored: func(w *mandrill.Webhook) { w.URL = strings.TrimSuffix(w.URL, "/") + "/" }}
	f := newOddFixture(t, o)
	f.apply()
	for range 5 {
		f.hourLater()
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.assert("Registered", "False", "URLChanged", "/mandrill/shop/transactional/: write it like that in spec.url")
		f.restart()
	}
	if o.writes != 1 {
		t.Errorf("%d writes", o.writes)
	}
	f.edit(func(w *v1alpha1.MandrillWebhook) { w.Spec.URL = f.receiver.URL + "/mandrill/shop/transactional/" })
	f.mustReconcile()
	f.hasIDs(101)
	f.deleteObject(true)
	f.hasIDs()
}

// Whatever undoes the operator's writes, there are ten at once, and pauses after that which grow to half an hour.
func TestWritesAreBounded(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	f := newOddFixture(t, o)
	f.configure(func(options *mandrillwebhook.Options) { options.Resync = time.Nanosecond }) // every reconcile lists
	f.apply()
	f.mustReconcile()
	undo := func() {
		f.account.Edit(101, func(spec *mandrill.WebhookSpec) { spec.Description = "undone" })
		f.advance(time.Millisecond)
	}
	for range 9 {
		undo()
		f.mustReconcile()
	}
	f.events()
	for i, minutes := range []int{1, 2, 4, 8, 16, 30, 30} {
		if i > 0 { // one is possible after each pause
			undo()
			f.mustReconcile()
		}
		undo()
		result, err := f.reconcile()
		if pause := time.Duration(minutes) * time.Minute; err != nil || result.RequeueAfter != pause {
			t.Fatalf("pause %d: got %v, %v, want %s", i, result, err, pause)
		}
		f.assert("Registered", "False", "WritesPaused", "the webhook was changed at Mandrill more than 10 times within a minute")
		f.assertEvent("Warning WritesPaused")
		f.advance(result.RequeueAfter / 2)
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.advance(result.RequeueAfter / 2)
	}
	if o.writes != 10+6 {
		t.Errorf("%d writes", o.writes)
	}
	f.mustReconcile()
	f.advance(10 * time.Minute)
	for range 10 {
		undo()
		f.mustReconcile()
	}
}

// An operator that restarts all the time makes one write each time, not ten.
func TestPausesOfWritesOutliveARestart(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	f := newOddFixture(t, o)
	f.configure(func(options *mandrillwebhook.Options) { options.Resync = time.Nanosecond }) // every reconcile lists
	f.apply()
	f.mustReconcile()
	undoAndReconcile := func() {
		f.account.Edit(101, func(spec *mandrill.WebhookSpec) { spec.Description = "undone" })
		f.advance(time.Millisecond)
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		undoAndReconcile()
	}
	f.assert("Registered", "False", "WritesPaused", "")
	before := o.writes
	for range 3 {
		f.restart()
		for range 5 {
			undoAndReconcile()
		}
		f.assert("Registered", "False", "WritesPaused", "")
	}
	if made := o.writes - before; made != 3 {
		t.Errorf("%d writes after three restarts", made)
	}
}

// One empty list adds nothing: Mandrill is asked for the recorded webhook.
func TestEmptyListAddsNothing(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	f := newOddFixture(t, o)
	f.apply()
	f.mustReconcile()
	o.emptied = 2
	f.hourLater().mustReconcile()
	f.advance(time.Minute)
	f.mustReconcile()
	f.restart()
	o.emptied = 1
	f.mustReconcile()
	f.hasIDs(101)
	o.emptied = 1
	f.restart()
	f.deleteObject(true)
	f.hasIDs()
}
