package examples_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// databases start the databases that the examples work with, and return what -database takes.
var databases = map[string]func(*testing.T) string{
	"SQLite":     func(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "events.db") },
	"PostgreSQL": startPostgres,
}

// startPostgres starts an empty server. As root it becomes nobody, because PostgreSQL refuses root.
func startPostgres(t *testing.T) string {
	t.Helper()
	bin := findProgram(t, "POSTGRESQL", "postgres")
	data, err := os.MkdirTemp("", "postgres-") //nolint:usetesting // only root may enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	attributes := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		const nobody = 65534
		if err := os.Chown(data, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		attributes.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	initdb := exec.Command(filepath.Join(filepath.Dir(bin), "initdb"), "--auth=trust", "--username=test", "--no-sync", "--locale=C", "--encoding=UTF8", "-D", data)
	initdb.SysProcAttr, initdb.Env, initdb.Dir = attributes, libraries(), data
	if output, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	server := &process{
		Cmd:    exec.Command(bin, "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"),
		output: newLog(), log: newLog(), ended: make(chan struct{}),
	}
	server.SysProcAttr, server.Env, server.Dir, server.Stderr = attributes, libraries(), data, server.log
	server.launch(t)
	return fmt.Sprintf("postgres://test@%s/postgres?sslmode=disable", address)
}

// get decodes what a consumer shows.
func get[T any](t *testing.T, address string) T {
	t.Helper()
	response, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var content T
	if err := json.NewDecoder(response.Body).Decode(&content); err != nil {
		t.Fatal(err)
	}
	return content
}

// startWithDatabase starts a consumer. It is started again while its database starts.
func startWithDatabase(t *testing.T, name, database string) (address string) {
	t.Helper()
	address = freeAddress(t)
	poll.NoError(t, patience, name+" starts", func() error {
		consumer := run(t, nil, program(t, name), "-listen", address, "-database", database)
		for {
			select {
			case <-consumer.ended:
				return fmt.Errorf("it ended:\n%s", consumer.log.String())
			default:
			}
			if response, err := http.Get("http://" + address + "/"); err == nil {
				return response.Body.Close()
			}
		}
	})
	return address
}

// Events that arrive again, here because the receiver has forgotten that they were delivered, have no second effect.
func TestIdempotentConsumerCountsEachEventOnce(t *testing.T) {
	t.Parallel()
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := startWithDatabase(t, "idempotent", start(t))
			l := newLab(t)
			for _, mode := range contentModes {
				l.webhook(mode, "http://"+address+"/", routes.Delivery{Mode: "Direct", ContentMode: mode})
			}
			sent := samples(t)
			var total int64
			for range 2 {
				l.start()
				l.send(sent...)
				l.receiver.stop(t)
				total = 0
				counts := get[map[string]int64](t, address)
				for _, count := range counts {
					total += count
				}
				if want := int64(len(contentModes) * len(sent)); total != want || counts["com.mandrill.message.open"] == 0 {
					t.Errorf("%d events were counted, want %d: %v", total, want, counts)
				}
			}
		})
	}
}

type listed struct{ Email, Subaccount, Reason string }

// change returns a change of the denylist.
func change(t *testing.T, action, email, reason string, at int64) []byte {
	t.Helper()
	sample := "sync-blacklist-" + action
	var event map[string]any
	if err := json.Unmarshal(mandrilltest.Samples()[sample], &event); err != nil {
		t.Fatal(err)
	}
	entry, _ := event["reject"].(map[string]any)
	entry["email"], entry["reason"], entry["subaccount"], event["ts"] = email, reason, nil, at
	data, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The changes of an address are applied in their order, also those of one second, and whatever happens to others meanwhile.
func TestDenylistMirrorEndsRight(t *testing.T) {
	t.Parallel()
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := startWithDatabase(t, "denylist", start(t))
			l := newLab(t)
			for _, mode := range contentModes {
				l.webhook(mode, "http://"+address+"/", routes.Delivery{Mode: "Buffered", ContentMode: mode})
			}
			l.start("--buffer=embedded", "--buffer-dir="+t.TempDir())
			const at, addresses = 1767225606, 8
			want := []listed{}
			var sent [][]byte
			for i := range addresses {
				gone, back, changed := fmt.Sprintf("Gone%02d@shop.example", i), fmt.Sprintf("back%02d@shop.example", i), fmt.Sprintf("changed%02d@shop.example", i)
				sent = append(sent,
					change(t, "add", gone, "spam", at), change(t, "add", back, "spam", at), change(t, "add", changed, "spam", at),
					change(t, "change", gone, "unsub", at), change(t, "remove", back, "spam", at), change(t, "change", changed, "unsub", at),
					change(t, "remove", gone, "unsub", at), change(t, "add", back, "custom", at))
				want = append(want, listed{Email: back, Reason: "custom"})
			}
			for i := range addresses {
				want = append(want, listed{Email: fmt.Sprintf("changed%02d@shop.example", i), Reason: "unsub"})
			}
			l.send(sent...)
			l.delivered(len(contentModes) * len(sent)) // the last of the webhooks applies the same changes again
			poll.NoError(t, patience, "the mirror is right", func() error {
				if diff := cmp.Diff(want, get[[]listed](t, address)); diff != "" {
					return fmt.Errorf("denylist (-want +got):\n%s", diff)
				}
				return nil
			})
			// A dead letter that is redriven: older than what the mirror has.
			l.send(change(t, "add", "gone00@shop.example", "spam", at-1))
			l.delivered(len(contentModes) * (len(sent) + 1))
			if diff := cmp.Diff(want, get[[]listed](t, address)); diff != "" {
				t.Errorf("denylist after an old change (-want +got):\n%s", diff)
			}
		})
	}
}
