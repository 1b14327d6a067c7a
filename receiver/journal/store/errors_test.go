package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// newServer runs a server.
func newServer(t *testing.T, change ...func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{ServerName: "server", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	for _, each := range change {
		each(options)
	}
	running, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	running.Start()
	t.Cleanup(func() { running.Shutdown(); running.WaitForShutdown() })
	if !running.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return running
}

func connect(t *testing.T, running *server.Server) jetstream.JetStream {
	t.Helper()
	return connectTo(t, running.ClientURL())
}

func connectTo(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	client, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); !condition(); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// The codes are those of the linked server.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]server.ErrorIdentifier{
		"no peers": server.JSClusterNoPeersErrF, "unavailable": server.JSClusterNotAvailErr, "not leader": server.JSClusterNotLeaderErr,
		"insufficient": server.JSInsufficientResourcesErr, "no storage": server.JSStorageResourcesExceededErr,
		"message too large": server.JSStreamMessageExceedsMaximumErr, "not clustered": server.JSStreamReplicasNotSupportedErr,
		"store failed": server.JSStreamStoreFailedF,
	} {
		if got := store.Codes[name]; int(got) != int(want) {
			t.Errorf("%s is %d, the server's is %d", name, got, want)
		}
	}
	if len(store.Codes) != 8 {
		t.Errorf("there are %d codes", len(store.Codes))
	}
}

// stream creates a stream of a subject with its name.
func stream(t *testing.T, client jetstream.JetStream, config jetstream.StreamConfig) (jetstream.Stream, error) {
	t.Helper()
	config.Subjects, config.Discard = []string{config.Name}, jetstream.DiscardNew
	return client.CreateStream(t.Context(), config)
}

// Every reason for which the server has no space is recognised, and nothing else is taken for one.
func TestErrorsOfAFullServer(t *testing.T) {
	t.Parallel()
	client := connect(t, newServer(t, func(options *server.Options) { options.JetStreamMaxStore = 4 << 20 }))
	_, tooLarge := stream(t, client, jetstream.StreamConfig{Name: "large", MaxBytes: 8 << 20})
	for name, config := range map[string]jetstream.StreamConfig{
		"limit": {Name: "limit", MaxBytes: 2 << 20}, "size": {Name: "size", MaxMsgSize: 1 << 10},
	} {
		if _, err := stream(t, client, config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	fill := func(subject string) error {
		for range 20 {
			if _, err := client.Publish(t.Context(), subject, make([]byte, 512<<10)); err != nil {
				return err
			}
		}
		return nil
	}
	limit, size := fill("limit"), fill("size")
	other := connect(t, newServer(t, func(options *server.Options) { options.JetStreamMaxStore = 4 << 20 }))
	if _, err := stream(t, other, jetstream.StreamConfig{Name: "storage"}); err != nil {
		t.Fatal(err)
	}
	storage := func() error {
		for range 20 {
			if _, err := other.Publish(t.Context(), "storage", make([]byte, 512<<10)); err != nil {
				return err
			}
		}
		return nil
	}()
	for name, test := range map[string]struct {
		err  error
		code string
	}{
		"a stream's limit": {limit, "store failed"}, "a stream's max_msg_size": {size, "message too large"},
		"the server's storage": {storage, "insufficient"}, "a limit beyond the server's storage": {tooLarge, "no storage"},
	} {
		api := new(jetstream.APIError)
		if !errors.As(test.err, &api) || api.ErrorCode != store.Codes[test.code] || !store.IsFull(test.err) || store.IsNoLeader(test.err) {
			t.Errorf("%s: %v is not recognised as %s", name, test.err, test.code)
		}
	}
	if err := (&jetstream.APIError{ErrorCode: store.Codes["store failed"], Description: "write failed"}); store.IsFull(err) {
		t.Error("a failed disk is taken for a full one")
	}
}

// gone deletes messages that are not there.
func gone(t *testing.T, client jetstream.JetStream, replicas int) {
	t.Helper()
	created, err := stream(t, client, jetstream.StreamConfig{Name: "gone", Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := client.Publish(t.Context(), "gone", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{1, 3} {
		if err := created.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for seq, text := range map[uint64]string{1: "no message found", 3: "not found", 99: "stream store EOF"} {
		if err := created.DeleteMsg(t.Context(), seq); !store.IsGone(err) || store.IsNoLeader(err) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "err_code=") {
			t.Errorf("%d replicas, message %d deleted again: %v is not recognised by %q", replicas, seq, err, text)
		}
		if _, err := created.GetMsg(t.Context(), seq); !store.IsGone(err) || !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("%d replicas, message %d: %v is not recognised", replicas, seq, err)
		}
	}
}

// taken writes a key that another process has written.
func taken(t *testing.T, client jetstream.JetStream, replicas int) {
	t.Helper()
	bucket, err := client.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "taken", Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := bucket.Create(t.Context(), "key", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context(), "key", nil); !store.IsTaken(err) {
		t.Errorf("%d replicas, created twice: %v is not recognised", replicas, err)
	}
	if _, err := bucket.Update(t.Context(), "key", nil, revision+1); !store.IsTaken(err) {
		t.Errorf("%d replicas, another revision: %v is not recognised", replicas, err)
	}
}

// The oldest server that is supported has the same errors.
func TestErrorsOfTheOldestServer(t *testing.T) {
	t.Parallel()
	client := connectTo(t, journaltest.OldestServer(t))
	gone(t, client, 1)
	taken(t, client, 1)
}

func TestErrorsOfASingleServer(t *testing.T) {
	t.Parallel()
	client := connect(t, newServer(t))
	gone(t, client, 1)
	taken(t, client, 1)
	_, err := stream(t, client, jetstream.StreamConfig{Name: "replicas", Replicas: 3})
	api := new(jetstream.APIError)
	if !errors.As(err, &api) || api.ErrorCode != store.Codes["not clustered"] {
		t.Errorf("replicas of a single server: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := client.Stream(ctx, "gone"); !store.IsNoLeader(err) {
		t.Errorf("no answer: %v is not recognised", err)
	}
	if _, err := client.Publish(t.Context(), "nowhere", nil); !store.IsNoLeader(err) {
		t.Errorf("no responders: %v is not recognised", err)
	}
}

// newCluster runs three servers of a cluster.
func newCluster(t *testing.T) []*server.Server {
	t.Helper()
	servers, ports := make([]*server.Server, 3), make([]int, 3)
	for i := range ports {
		var err error
		if ports[i], err = loopback.Port(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, port := range ports {
		servers[i] = newServer(t, func(options *server.Options) {
			options.ServerName = fmt.Sprintf("server-%d", i)
			options.Cluster = server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: port}
			for _, other := range ports {
				options.Routes = append(options.Routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", other)})
			}
		})
	}
	return servers
}

func TestErrorsOfACluster(t *testing.T) {
	t.Parallel()
	servers := newCluster(t)
	client := connect(t, servers[0])
	code := func(err error) jetstream.ErrorCode {
		api := new(jetstream.APIError)
		if !errors.As(err, &api) {
			return 0
		}
		return api.ErrorCode
	}
	until(t, "a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.CreateStream(ctx, jetstream.StreamConfig{Name: "first", Replicas: 3})
		if err != nil && !store.IsNoLeader(err) {
			t.Fatalf("%v is not recognised", err)
		}
		return err == nil
	})
	gone(t, client, 3)
	taken(t, client, 3)
	if _, err := stream(t, client, jetstream.StreamConfig{Name: "peers", Replicas: 5}); code(err) != store.Codes["no peers"] || !store.IsNoLeader(err) {
		t.Errorf("too few servers: %v is not recognised", err)
	}
	for _, each := range servers[1:] {
		each.Shutdown()
		each.WaitForShutdown()
	}
	until(t, "the loss of the leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := client.CreateStream(ctx, jetstream.StreamConfig{Name: "second"})
		if !store.IsNoLeader(err) {
			t.Fatalf("%v is not recognised", err)
		}
		return code(err) == store.Codes["unavailable"]
	})
}
