package journal_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// The key of identities is made once, and used by all processes that share the streams.
func TestIdentityKeyIsShared(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	first, second := run(t, journal.New(options)), run(t, journal.New(options))
	if first.append(batch("shop/a", "1")) || !second.isDuplicate(batch("shop/a", "1")) || second.append(batch("shop/b", "1")) {
		t.Error("two processes have different keys")
	}
	if late := run(t, journal.New(options)); !late.isDuplicate(batch("shop/a", "1")) {
		t.Error("a later process has another key")
	}
}

// Another buffer has another key, so that a batch has another identity there.
func TestIdentityDependsOnTheKey(t *testing.T) {
	t.Parallel()
	identities := map[string]bool{}
	for range 2 {
		e := newExternal(t)
		options, _ := shared(t, e.url())
		o := run(t, journal.New(options))
		o.append(batch("shop/a", "1"))
		msg, err := e.batches().GetMsg(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		identities[msg.Header.Get("Nats-Msg-Id")] = true
	}
	if len(identities) != 2 {
		t.Errorf("the identities are %v", identities)
	}
}

// A key of another size is refused with a remedy.
func TestIdentityKeyOfAnotherSize(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	run(t, journal.New(options)).append(batch("shop/a", "1"))
	state, err := e.client().KeyValue(t.Context(), "mandrill-state")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.PutString(t.Context(), "identity", "short"); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, options); err == nil || !strings.Contains(err.Error(), "5 bytes, not 32; remove it") {
		t.Errorf("error %v", err)
	}
}
