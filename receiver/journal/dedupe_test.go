package journal_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// The key of identities is made once. All who share the streams have it, also those who come later.
func TestIdentityKeyIsShared(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	one, other := run(t, journal.New(options)), run(t, journal.New(options))
	if one.append(batch("shop/a", "1")) || !other.append(batch("shop/a", "1")) || other.append(batch("shop/b", "1")) {
		t.Error("two who share the streams know a batch by different identities")
	}
	if late := run(t, journal.New(options)); !late.append(batch("shop/a", "1")) {
		t.Error("who came later does not know a batch")
	}
}

// Under another's key a batch has another identity.
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

func TestIdentityKeyOfAnotherKind(t *testing.T) {
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
