package journal_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// The codes are those of the linked server.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]server.ErrorIdentifier{
		"no peers": server.JSClusterNoPeersErrF, "unavailable": server.JSClusterNotAvailErr, "not leader": server.JSClusterNotLeaderErr,
		"insufficient": server.JSInsufficientResourcesErr, "no storage": server.JSStorageResourcesExceededErr,
		"message too large": server.JSStreamMessageExceedsMaximumErr, "not clustered": server.JSStreamReplicasNotSupportedErr,
		"store failed": server.JSStreamStoreFailedF,
	} {
		if got := journal.Codes[name]; int(got) != int(want) {
			t.Errorf("%s is %d, the server's is %d", name, got, want)
		}
	}
	if len(journal.Codes) != 8 {
		t.Errorf("there are %d codes", len(journal.Codes))
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
	client := newExternal(t, func(options *server.Options) { options.JetStreamMaxStore = 4 << 20 }).client()
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
	other := newExternal(t, func(options *server.Options) { options.JetStreamMaxStore = 4 << 20 }).client()
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
		if !errors.As(test.err, &api) || api.ErrorCode != journal.Codes[test.code] || !journal.IsFull(test.err) || journal.IsNoLeader(test.err) {
			t.Errorf("%s: %v is not recognised as %s", name, test.err, test.code)
		}
	}
	if err := (&jetstream.APIError{ErrorCode: journal.Codes["store failed"], Description: "write failed"}); journal.IsFull(err) {
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
		if err := created.DeleteMsg(t.Context(), seq); !journal.IsGone(err) || journal.IsNoLeader(err) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "err_code=") {
			t.Errorf("%d replicas, message %d deleted again: %v is not recognised by %q", replicas, seq, err, text)
		}
		if _, err := created.GetMsg(t.Context(), seq); !journal.IsGone(err) || !errors.Is(err, jetstream.ErrMsgNotFound) {
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
	if _, err := bucket.Create(t.Context(), "key", nil); !journal.IsTaken(err) {
		t.Errorf("%d replicas, created twice: %v is not recognised", replicas, err)
	}
	if _, err := bucket.Update(t.Context(), "key", nil, revision+1); !journal.IsTaken(err) {
		t.Errorf("%d replicas, another revision: %v is not recognised", replicas, err)
	}
}

func TestErrorsOfASingleServer(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	client := e.client()
	gone(t, client, 1)
	taken(t, client, 1)
	_, err := stream(t, client, jetstream.StreamConfig{Name: "replicas", Replicas: 3})
	api := new(jetstream.APIError)
	if !errors.As(err, &api) || api.ErrorCode != journal.Codes["not clustered"] {
		t.Errorf("replicas of a single server: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := client.Stream(ctx, "gone"); !journal.IsNoLeader(err) {
		t.Errorf("no answer: %v is not recognised", err)
	}
	if _, err := client.Publish(t.Context(), "nowhere", nil); !journal.IsNoLeader(err) {
		t.Errorf("no responders: %v is not recognised", err)
	}
}

// newServers runs three servers of a cluster.
func newServers(t *testing.T) []*external {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		ports = append(ports, freePort(t))
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: "127.0.0.1:" + strconv.Itoa(ports[len(ports)-1])})
	}
	servers := make([]*external, 3)
	for i := range servers {
		servers[i] = &external{t: t, options: server.Options{
			ServerName: fmt.Sprintf("server-%d", i), Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}}
		servers[i].start()
		t.Cleanup(servers[i].stop)
	}
	return servers
}

func TestErrorsOfACluster(t *testing.T) {
	t.Parallel()
	servers := newServers(t)
	client := servers[0].client()
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
		if err != nil && !journal.IsNoLeader(err) {
			t.Fatalf("%v is not recognised", err)
		}
		return err == nil
	})
	gone(t, client, 3)
	taken(t, client, 3)
	if _, err := stream(t, client, jetstream.StreamConfig{Name: "peers", Replicas: 5}); code(err) != journal.Codes["no peers"] || !journal.IsNoLeader(err) {
		t.Errorf("too few servers: %v is not recognised", err)
	}
	for _, each := range servers[1:] {
		each.stop()
	}
	until(t, "the loss of the leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := client.CreateStream(ctx, jetstream.StreamConfig{Name: "second"})
		if !journal.IsNoLeader(err) {
			t.Fatalf("%v is not recognised", err)
		}
		return code(err) == journal.Codes["unavailable"]
	})
}
