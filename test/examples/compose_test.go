package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// composed is what a service of a compose file says about its program.
type composed struct {
	Command     []string
	Environment map[string]string
}

// command returns the one of a document's shell commands that begins as given.
func command(t *testing.T, document, start string) string {
	t.Helper()
	_, text, found := strings.Cut(document, "\n"+start)
	text, _, closed := strings.Cut(text, "\n```")
	if !found || !closed {
		t.Fatalf("there is no command %q", start)
	}
	return start + text
}

// The programs of the compose file work together with the arguments and variables that it gives them, and the command of its README
// registers the webhook. There is no Docker here, so hosts become addresses of this machine.
func TestComposedProgramsDeliverEvents(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED, COMPOSE EXAMPLE NOT TESTED: %v", err)
		}
	}
	var file struct{ Services map[string]composed }
	if err := yaml.Unmarshal([]byte(readExample(t, "compose/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, name := range []string{"secrets", "buffer"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mandrill, receiver, metrics, consumer := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	here := strings.NewReplacer(
		"localhost:8085", mandrill, "=:8085", "="+mandrill, "receiver:8080", receiver, "listen=:8080", "listen="+receiver, "=:9090", "="+metrics,
		"consumer:8081", consumer, "=:8081", "="+consumer, "/programs/", filepath.Dir(program(t, "receiver"))+"/",
		"/secrets", folder+"/secrets", "=/buffer", "="+folder+"/buffer", "interval=5s", "interval=100ms", "interval=2s", "interval=10ms",
	)
	processes := map[string]*process{}
	for name, service := range file.Services {
		var environment, args []string
		for variable, value := range service.Environment {
			environment = append(environment, variable+"="+here.Replace(value))
		}
		for _, arg := range service.Command {
			args = append(args, here.Replace(arg))
		}
		processes[name] = run(t, environment, args[0], args[1:]...)
	}
	for name, address := range map[string]string{"mandrill": mandrill, "receiver": receiver, "consumer": consumer} {
		processes[name].listens(t, address)
	}
	register := exec.Command("bash", "-euo", "pipefail", "-c", here.Replace(command(t, readExample(t, "compose/README.md"), "curl ")))
	register.Dir = folder
	if output, err := register.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	types := map[string]bool{}
	poll.True(t, patience, "events of all types arrive", func() bool {
		for _, line := range processes["consumer"].lines(t) {
			types[line.Type] = true
		}
		return len(types) == 15
	})
}
