package examples_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

var contentModes = []string{"Binary", "Structured", "Batched"}

// consumed is a line that a consumer printed.
type consumed struct {
	ID, Source, Type, Error string
	Data                    json.RawMessage
}

// lines returns what a consumer has printed so far.
func (p *process) lines(t *testing.T) []consumed {
	t.Helper()
	text := p.output.String()
	var list []consumed
	for line := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) {
		var one consumed
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		list = append(list, one)
	}
	return list
}

// needNode skips the test unless the modules of the examples in Node are installed.
func needNode(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(root + "/examples/node/node_modules/@mandrill-operator/events/dist")
	}
	if err != nil {
		t.Skipf("SKIPPED, EXAMPLES IN NODE NOT TESTED: run hack/npm.sh and hack/examples.sh: %v", err)
	}
	return path
}

// Every consumer gets each sample once in each content mode, and reads it as package events does.
func TestEveryConsumerGetsEveryEventOnce(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, string) *process{
		"go": func(t *testing.T, address string) *process {
			return run(t, nil, program(t, "consumer"), "-listen", address)
		},
		"express": nodeConsumer("express.mjs"),
		"fastify": nodeConsumer("fastify.mjs"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			consumer := start(t, address)
			consumer.listens(t, address)
			l := newLab(t)
			for _, mode := range contentModes {
				l.webhook(mode, "http://"+address+"/", routes.Delivery{Mode: "Buffered", ContentMode: mode})
			}
			l.start("--buffer=embedded", "--buffer-dir="+t.TempDir())
			sent := samples(t)
			l.send(sent...)
			poll.True(t, patience, "the events have arrived", func() bool { return len(consumer.lines(t)) >= len(contentModes)*len(sent) })
			l.receiver.stop(t) // nothing comes after this
			consumer.stop(t)
			checkOnce(t, sent, consumer.lines(t))
		})
	}
}

func nodeConsumer(script string) func(*testing.T, string) *process {
	return func(t *testing.T, address string) *process {
		node := needNode(t)
		host, port, _ := strings.Cut(address, ":")
		return run(t, []string{"HOST=" + host, "PORT=" + port}, node, root+"/examples/node/"+script)
	}
}

// checkOnce compares what a consumer has printed with the events that were sent to a webhook of each content mode.
func checkOnce(t *testing.T, sent [][]byte, got []consumed) {
	t.Helper()
	raw := map[string][]byte{}
	want, count := map[string]int{}, map[string]int{}
	for _, event := range sent {
		raw[idOf(event)] = event
		for _, mode := range contentModes {
			want["/"+mode+" "+idOf(event)] = 1
		}
	}
	for _, one := range got {
		count[one.Source+" "+one.ID]++
		parsed, err := events.ParseData(one.Type, raw[one.ID])
		if err != nil || one.Error != "" {
			t.Errorf("%s %s: %v, the consumer found %q", one.Source, one.Type, err, one.Error)
			continue
		}
		if unknown, ok := parsed.(*events.Unknown); ok && !json.Valid(unknown.Data) {
			parsed = unknown.Data
		}
		var normal, data any
		encoded, err := json.Marshal(parsed)
		if err == nil {
			err = json.Unmarshal(encoded, &normal)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(one.Data, &data); err != nil {
			t.Errorf("%s %s: %v", one.Source, one.Type, err)
		} else if diff := cmp.Diff(normal, data); diff != "" {
			t.Errorf("%s %s (-package events +consumer):\n%.2000s", one.Source, one.Type, diff)
		}
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("how often each event arrived (-want +got):\n%s", diff)
	}
}
