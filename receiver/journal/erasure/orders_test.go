package erasure_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// mute is a stream that removes messages, and whose answers are lost.
type mute struct{ jetstream.Stream }

func (m mute) Purge(ctx context.Context, options ...jetstream.StreamPurgeOpt) error {
	return errors.Join(m.Stream.Purge(ctx, options...), context.DeadlineExceeded)
}

func startServer(t *testing.T) *nats.Conn {
	t.Helper()
	local, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	local.Start()
	t.Cleanup(func() { local.Shutdown(); local.WaitForShutdown() })
	if !local.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(local))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// A result is given once. So it is given although the answer to the removal of the order is lost: there would be no second time.
func TestResultIsGivenAlthoughTheAnswerToItsRemovalIsLost(t *testing.T) {
	t.Parallel()
	conn := startServer(t)
	client, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "state"}); err != nil {
		t.Fatal(err)
	}
	stream, err := client.Stream(t.Context(), "KV_state")
	if err != nil {
		t.Fatal(err)
	}
	requests := &store.Store{Policy: store.PolicyFor(true), JetStream: client, Conn: conn}
	state, err := requests.OpenState(t.Context(), "state", stream)
	if err != nil {
		t.Fatal(err)
	}
	orders := &erasure.Orders{Store: requests, State: state, Key: []byte("key"), Now: time.Now}
	id, err := orders.Add(t.Context(), erasure.Request{Recipient: "ana@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := orders.Pending(t.Context())
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d orders, %v", len(pending), err)
	}
	if err := orders.Finish(t.Context(), pending[0], erasure.Result{Events: 3}); err != nil {
		t.Fatal(err)
	}
	state.Stream = mute{stream}
	if result, err := orders.Result(t.Context(), id); err != nil || result == nil || result.Events != 3 {
		t.Errorf("the result is %+v, %v", result, err)
	}
	if _, err := orders.Result(t.Context(), id); !errors.Is(err, erasure.ErrUnknown) {
		t.Errorf("a result that was given: %v", err)
	}
}
