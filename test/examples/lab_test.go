// Package examples_test runs what is in examples with a real receiver and the emulated Mandrill.
package examples_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const (
	root = "../.."
	// patience is how long a test waits, far longer than any step takes on a busy machine.
	patience = 3 * time.Minute
)

// build builds the receiver, the emulator and the consumers in Go once, into a folder.
var build = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "examples-")
	if err != nil {
		return "", err
	}
	for module, packages := range map[string][]string{
		root: {"./cmd/receiver", "./cmd/mandrill-emulator"}, root + "/examples/go": {"./consumer", "./idempotent", "./denylist"},
	} {
		command := exec.Command("go", slices.Concat([]string{"build", "-tags=grpcnotrace", "-o", folder + "/"}, packages)...)
		command.Dir, command.Env = module, append(os.Environ(), "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, output)
		}
	}
	return folder, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if folder, err := build(); err == nil {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// program returns the path of a program that build has built.
func program(t *testing.T, name string) string {
	t.Helper()
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, name)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// process is a program that runs until the test ends.
type process struct {
	*exec.Cmd
	output, log *logbuffer.Buffer
	ended       chan struct{}
}

// run starts a program in an environment that has nothing of the test's but PATH and HOME.
func run(t *testing.T, environment []string, path string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(path, args...), output: &logbuffer.Buffer{}, log: &logbuffer.Buffer{}, ended: make(chan struct{})}
	p.Stdout, p.Stderr = p.output, p.log
	p.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, environment...)
	p.launch(t)
	return p
}

func (p *process) launch(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
}

// stop ends a program by SIGTERM, and expects that it exits with 0.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s did not end:\n%s", p.Path, p.log.String())
	}
	if !p.ProcessState.Success() {
		t.Errorf("%s: %s:\n%s", p.Path, p.ProcessState, p.log.String())
	}
}

// listens waits until a program accepts connections.
func (p *process) listens(t *testing.T, address string) {
	t.Helper()
	poll.NoError(t, patience, p.Path+" listens", func() error {
		response, err := http.Get("http://" + address + "/")
		if err != nil {
			select {
			case <-p.ended:
				t.Fatalf("%s ended:\n%s%s", p.Path, p.output.String(), p.log.String())
			default:
			}
			return err
		}
		return response.Body.Close()
	})
}

// lab is a receiver with webhooks of an emulated Mandrill.
type lab struct {
	t               *testing.T
	emulator        *mandrilltest.Server
	account         *mandrilltest.Account
	folder          string
	address, health string
	document        routes.Document
	receiver        *process
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, folder: t.TempDir(), address: freeAddress(t), health: freeAddress(t)}
	l.emulator = mandrilltest.New(mandrilltest.Options{BatchInterval: time.Hour, RetryInterval: time.Hour})
	t.Cleanup(l.emulator.Close)
	l.account = l.emulator.Account("test-key")
	return l
}

// webhook adds a webhook before the receiver is started. Its name is the source of its events.
func (l *lab) webhook(name, sink string, delivery routes.Delivery) {
	l.document.Routes = append(l.document.Routes, routes.Route{
		Name: "examples/" + name, URL: "http://" + l.address + "/" + name, Source: "/" + name, Sink: routes.Sink{URI: sink}, Delivery: delivery,
	})
}

// start starts the receiver. The first time it registers the webhooks, at public instead of the receiver's own address if that is set.
func (l *lab) start(args ...string) {
	l.t.Helper()
	l.write()
	config := filepath.Join(l.folder, "routes.json")
	l.receiver = run(l.t, nil, program(l.t, "receiver"), slices.Concat([]string{
		"--config", config, "--listen", l.address, "--metrics-listen", l.health, "--shutdown-delay=0s",
	}, args)...)
	l.receiver.listens(l.t, l.health)
	for i, each := range l.document.Routes {
		if len(each.Keys) == 0 {
			l.document.Routes[i].Keys = []string{register(l.t, l.emulator, each.URL)}
		}
	}
	l.write()
}

func (l *lab) write() {
	l.t.Helper()
	data, err := json.Marshal(l.document)
	if err == nil {
		err = os.WriteFile(filepath.Join(l.folder, "routes.json"), data, 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// register adds a webhook for all events, and returns its signing key.
func register(t *testing.T, emulator *mandrilltest.Server, url string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"key": "test-key", "url": url, "events": subscriptions})
	if err != nil {
		t.Fatal(err)
	}
	var added mandrill.Webhook
	poll.NoError(t, patience, "webhooks/add", func() error { // until the receiver serves the URL
		response, err := call(emulator, "/api/1.0/webhooks/add.json", body)
		if err != nil {
			return err
		}
		return json.Unmarshal(response, &added)
	})
	return added.AuthKey
}

var subscriptions = []string{
	"send", "deferral", "hard_bounce", "soft_bounce", "delivered", "open", "click", "spam", "unsub", "reject", "blacklist", "whitelist",
}

// call calls the API of an emulator, without a network.
func call(emulator http.Handler, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer := &answer{header: http.Header{}, status: http.StatusOK}
	emulator.ServeHTTP(answer, request)
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", answer.status, answer.body.String())
	}
	return answer.body.Bytes(), nil
}

type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header               { return a.header }
func (a *answer) WriteHeader(status int)            { a.status = status }
func (a *answer) Write(content []byte) (int, error) { return a.body.Write(content) }

// send sends events to all webhooks, until each batch was accepted.
func (l *lab) send(events ...[]byte) {
	l.t.Helper()
	for _, event := range events {
		l.account.EmitRaw("send", event)
	}
	poll.NoError(l.t, patience, "Mandrill's batches are accepted", func() error {
		if err := l.emulator.Flush(l.t.Context()); err != nil {
			return err
		}
		if waiting := l.account.Waiting(); waiting > 0 {
			return fmt.Errorf("%d events wait:\n%s", waiting, l.receiver.log.String())
		}
		return nil
	})
}

// idOf returns the id that the receiver gives an event.
func idOf(event []byte) string {
	sum := sha256.Sum256(event)
	return hex.EncodeToString(sum[:16])
}

// samples returns every sample of the emulator, and what else a consumer must take: a large event, data that are not UTF-8, and
// elements of a batch that are no event and no JSON.
func samples(t *testing.T) [][]byte {
	t.Helper()
	all := mandrilltest.Samples()
	var list [][]byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[name])
	}
	if len(list) < 20 {
		t.Fatalf("there are %d samples only", len(list))
	}
	latin1 := []byte("{\"event\":\"open\",\"msg\":{\"subject\":\"caf\xe9\"},\"_id\":\"latin1\"}")
	return append(list, large(t, 2<<20), latin1, []byte(`"no event"`), []byte(`{"event": no JSON}`))
}

// large returns inbound mail of about this size, which is beyond the default limits of Express, Fastify and nginx.
func large(t *testing.T, size int) []byte {
	t.Helper()
	var mail map[string]any
	err := json.Unmarshal(mandrilltest.Samples()["inbound"], &mail)
	message, ok := mail["msg"].(map[string]any)
	if err != nil || !ok {
		t.Fatal(errors.Join(err, errors.New("the sample inbound has no message")))
	}
	message["text"] = strings.Repeat("All work and no play. ", size/22)
	event, err := json.Marshal(mail)
	if err != nil {
		t.Fatal(err)
	}
	return event
}

var acceptedEvents = regexp.MustCompile(`(?m)^mandrill_receiver_events_total\{outcome="accepted",[^}]*\} (\d+)$`)

// delivered waits until the sinks have accepted as many events.
func (l *lab) delivered(want int) {
	l.t.Helper()
	poll.NoError(l.t, patience, "the events are delivered", func() error {
		response, err := http.Get("http://" + l.health + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		metrics, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		got := 0
		for _, match := range acceptedEvents.FindAllSubmatch(metrics, -1) {
			count, err := strconv.Atoi(string(match[1]))
			if err != nil {
				return err
			}
			got += count
		}
		if got != want {
			return fmt.Errorf("%d were, of %d", got, want)
		}
		return nil
	})
}
