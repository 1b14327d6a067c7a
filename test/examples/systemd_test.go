package examples_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const unitFile = root + "/examples/systemd/mandrill-receiver.service"

// service returns the values of a unit file's [Service] section, by name.
func service(t *testing.T, path string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "[Service]\n")
	section, _, _ = strings.Cut(section, "\n[")
	values := map[string][]string{}
	for line := range strings.Lines(strings.ReplaceAll(section, "\\\n", " ")) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			values[name] = append(values[name], value)
		}
	}
	return values
}

// systemd finds no fault in the unit, and little that the service could do to the machine.
func TestUnitIsCorrectAndHardened(t *testing.T) {
	t.Parallel()
	analyze := findProgram(t, "SYSTEMD UNIT", "systemd-analyze")
	data, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks for the program.
	unit := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(data), "/usr/local/bin/receiver", program(t, "receiver"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=true", "--threshold=15", "--no-pager", unit}} {
		command := exec.Command(analyze, args...)
		command.Env = libraries()
		output, err := command.CombinedOutput()
		if err != nil || args[0] == "verify" && len(output) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, output)
		}
	}
}

// nextState returns the next state that the receiver sends to systemd.
func nextState(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var buffer [1024]byte
	n, err := socket.Read(buffer[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

// The receiver that the unit starts is ready when it says so to systemd, stores batches in the unit's StateDirectory, reads the key from its
// credentials, makes no system call that the unit forbids, and says when it stops.
func TestUnitStartsReceiver(t *testing.T) { //nolint:tparallel // its part waits for the end of the receiver
	t.Parallel()
	unit := service(t, unitFile)
	folder, address, metrics := t.TempDir(), freeAddress(t), freeAddress(t)
	var arrived atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	t.Cleanup(sink.Close)
	state, credentials, notify := filepath.Join(folder, "state"), filepath.Join(folder, "credentials"), filepath.Join(folder, "notify")
	for _, each := range []string{state, credentials} {
		if err := os.Mkdir(each, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, each := range unit["LoadCredential"] {
		name, _, _ := strings.Cut(each, ":")
		if err := os.WriteFile(filepath.Join(credentials, name), []byte("signing-key\n"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	// What systemd replaces, and what is different here.
	here := strings.NewReplacer("%d", credentials, "${STATE_DIRECTORY}", state, "https://hooks.example.com", "http://"+address,
		"http://127.0.0.1:8081/", sink.URL, "127.0.0.1:8080", address, "127.0.0.1:9090", metrics)
	environment := []string{"NOTIFY_SOCKET=" + notify}
	for _, each := range unit["Environment"] {
		environment = append(environment, here.Replace(each))
	}
	if len(unit["ExecStart"]) != 1 || unit["Type"][0] != "notify" {
		t.Fatalf("ExecStart=%q, Type=%q", unit["ExecStart"], unit["Type"])
	}
	command, trace := traced(t, program(t, "receiver"))
	command = append(command, strings.Fields(here.Replace(unit["ExecStart"][0]))[1:]...)
	receiver := run(t, environment, command[0], command[1:]...)
	if got := nextState(t, socket); got != "READY=1" {
		t.Fatalf("got %q:\n%s", got, receiver.log.String())
	}

	url := "http://" + address + "/mandrill"
	sent := samples(t)
	request, err := mandrilltest.NewRequest(t.Context(), url, url, "signing-key", mandrilltest.Batch(sent...))
	if err != nil {
		t.Fatal(err)
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("a batch got %d:\n%s", response.StatusCode, receiver.log.String())
	}
	poll.True(t, patience, "the events arrive", func() bool { return arrived.Load() == int64(len(sent)) })
	if files, err := os.ReadDir(state); err != nil || len(files) == 0 {
		t.Errorf("the buffer is not in the StateDirectory: %v", err)
	}
	receiver.stop(t)
	if got := nextState(t, socket); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
	t.Run("system calls", func(t *testing.T) { //nolint:paralleltest // the receiver has ended
		checkCalls(t, unit, trace)
	})
}
