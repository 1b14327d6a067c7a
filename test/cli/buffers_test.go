package cli_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/buffers"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/view"
)

// What the sink refuses shows in status, and is listed, shown, redriven and purged over all buffers.
func TestDeadLettersOverAllBuffers(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	name := webhook.Namespace + "/" + webhook.Name
	list := func(args ...string) []buffers.DeadLetter {
		t.Helper()
		r := s.run(webhook.Namespace, append([]string{"dead-letters", "list", "-o", "json", "--webhook", webhook.Name}, args...)...)
		if r.status != output.StatusOK {
			t.Fatalf("status %d: %s", r.status, r.err)
		}
		return decodeJSON[[]buffers.DeadLetter](t, r.out)
	}
	if r := s.run(webhook.Namespace, "status", webhook.Name); r.status != output.StatusOK || !strings.Contains(r.out, "transactional") {
		t.Errorf("in order: %+v", r)
	}
	s.answer.Store(http.StatusBadRequest)
	if _, err := s.account.Emit("send", "open", "hard_bounce"); err != nil {
		t.Fatal(err)
	}
	s.eventually("three dead letters", func() error {
		if letters := list(); len(letters) != 3 {
			return fmt.Errorf("there are %d", len(letters))
		}
		return nil
	})
	if letters := list("--type", "hard_bounce", "--reason", "refused", "--since", "1h"); len(letters) != 1 || letters[0].Status != http.StatusBadRequest {
		t.Errorf("by type: %+v", letters)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "list", "--limit", "1"); !strings.Contains(r.out, "There are more than these 1") {
		t.Errorf("a limit: %+v", r)
	}
	s.eventually("status names the dead letters", func() error {
		r := s.run(webhook.Namespace, "status", "-o", "json")
		summary := decodeJSON[[]view.Summary](t, r.out)[0]
		if r.status != output.StatusProblems || summary.DeadLetters != 3 || summary.Sink != v1alpha1.ReasonSinkRefusing || len(summary.Problems) == 0 || summary.Problems[0].Next == "" {
			return fmt.Errorf("%+v", summary)
		}
		return nil
	})
	s.documented("status", webhook.Namespace, "kubectl mandrill status -n shop", s.run(webhook.Namespace, "status"))
	s.documented("dead-letters", webhook.Namespace, "kubectl mandrill dead-letters list --webhook transactional -n shop",
		s.run(webhook.Namespace, "dead-letters", "list", "--webhook", "transactional"))

	if r := s.run(webhook.Namespace, "doctor", webhook.Name, "--skip-large"); r.status != output.StatusProblems || !strings.Contains(r.out, "fail  sink") {
		t.Errorf("doctor with a sink that refuses: %+v", r)
	}

	first := list()[0]
	if r := s.run(webhook.Namespace, "dead-letters", "show", first.Name); !strings.Contains(r.out, `"event"`) {
		t.Errorf("show: %+v", r)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "redrive", "--webhook", webhook.Name, "--dry-run"); r.out != "would redrive 3 dead letters\n" {
		t.Errorf("dry run: %+v", r)
	}
	s.answer.Store(http.StatusAccepted)
	// Two people at once: each dead letter is redriven once, and the slower one hears that it is gone.
	results := make([]result, 2)
	var people sync.WaitGroup
	for i := range results {
		people.Go(func() {
			results[i] = s.run(webhook.Namespace, "dead-letters", "redrive", strconv.FormatUint(first.Seq, 10))
		})
	}
	people.Wait()
	redriven := 0
	for _, r := range results {
		if strings.Contains(r.out, "redrove 1 dead letter\n") {
			redriven++
		} else if !strings.Contains(r.err, "it may have been redriven") {
			t.Errorf("the slower one: %+v", r)
		}
	}
	if redriven != 1 {
		t.Errorf("redriven %d times: %+v", redriven, results)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "redrive", "--all", "--type", "open"); r.status != output.StatusOK || !strings.HasPrefix(r.out, "redrove") {
		t.Errorf("redrive: %+v", r)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "purge", "--webhook", name); r.status != output.StatusFailed || !strings.Contains(r.err, "give --yes") {
		t.Errorf("purge without an answer: %+v", r)
	}
	if r := s.runWith(webhook.Namespace, localPods{}, "y\n", "dead-letters", "purge", "--webhook", name); r.status != output.StatusOK {
		t.Errorf("purge: %+v", r)
	}
	if letters := list(); len(letters) != 0 {
		t.Errorf("after the purge: %+v", letters)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "purge", "--recipient", "ana@shop.example", "--yes"); r.status != output.StatusOK || !strings.Contains(r.out, "erased") {
		t.Errorf("erase: %+v", r)
	}
}

// What waits for a sink that hangs is listed and set aside.
func TestBacklogOfASinkThatHangs(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook(func(w *v1alpha1.MandrillWebhook) { w.Spec.Delivery = &v1alpha1.Delivery{Timeout: "PT30S"} }) // the attempt must not end meanwhile
	s.hang.Store(true)
	if _, err := s.account.Emit("send"); err != nil {
		t.Fatal(err)
	}
	var batches []buffers.Batch
	s.eventually("a batch waits", func() error {
		r := s.run(webhook.Namespace, "backlog", "list", "-o", "json", "--since", "1h")
		if batches = decodeJSON[[]buffers.Batch](t, r.out); len(batches) == 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if r := s.run(webhook.Namespace, "backlog", "show", batches[0].Name); !strings.Contains(r.out, `"send"`) {
		t.Errorf("show: %+v", r)
	}
	list := func(args ...string) int {
		t.Helper()
		return len(decodeJSON[[]buffers.Batch](t, s.run(webhook.Namespace, append([]string{"backlog", "list", "-o", "json"}, args...)...).out))
	}
	if with, without := list("--type", "send", "--webhook", webhook.Name), list("--type", "open"); with != len(batches) || without != 0 {
		t.Errorf("by type: %d and %d", with, without)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"drop", "--all", "--dry-run"}, ": would have dropped 1 batch with 1 event\n"},
		{[]string{"set-aside", batches[0].Name, "--dry-run"}, ": would have set aside 1 batch with 1 event\n"},
		{[]string{"drop", "--webhook", webhook.Name}, "Drop all batches that wait of " + webhook.Namespace + "/" + webhook.Name + " with all events?"},
		{[]string{"drop"}, "nothing is selected"},
		{[]string{"drop", "--all", "--type", "send"}, "--type is for backlog list: a batch may have events of several types"},
		{[]string{"list", "--reason", "refused"}, "--reason is for dead-letters: what waits has not been given up"},
	} {
		if r := s.run(webhook.Namespace, append([]string{"backlog"}, test.args...)...); !strings.Contains(r.out+r.err, test.want) {
			t.Errorf("%v: %+v", test.args, r)
		}
	}
	if list() != len(batches) {
		t.Error("a dry run changed something")
	}
	if r := s.run(webhook.Namespace, "backlog", "drop", batches[0].Name); r.status != output.StatusFailed || !strings.Contains(r.err, "nothing was deleted") {
		t.Errorf("drop without an answer: %+v", r)
	}
	if r := s.run(webhook.Namespace, "backlog", "set-aside", "--webhook", webhook.Name, "--since", "1h"); r.status != output.StatusOK || !strings.Contains(r.out, ": set aside 1 batch with 1 event\n") || list() != 0 {
		t.Errorf("set-aside: %+v", r)
	}
}

// What is in the way of asking a receiver is said in a sentence.
func TestReceiversThatCannotBeAsked(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	for name, test := range map[string]struct {
		change func([]string) []string
		want   string
	}{
		"too old": {func(command []string) []string {
			if len(command) > 1 && command[1] == "--version" {
				return command
			}
			return append(command, "--no-such-flag")
		}, "does not know what kubectl-mandrill"},
		"not there": {func([]string) []string { return []string{"/receiver-of-another-name"} }, "asking"},
		"no socket": {func(command []string) []string {
			for i := range command {
				if strings.HasPrefix(command[i], "--buffer-dir=") {
					command[i] = "--buffer-dir=/nowhere"
				}
			}
			return command
		}, "no receiver answers at /nowhere"},
	} {
		r := s.runWith(webhook.Namespace, localPods{change: test.change}, "", "dead-letters", "list")
		if r.status != output.StatusIncomplete || !strings.Contains(r.err, test.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := s.run("nowhere", "status", "missing"); r.status != output.StatusFailed || !strings.Contains(r.err, "MandrillWebhook nowhere/missing does not exist") {
		t.Errorf("a webhook that does not exist: %+v", r)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "list", "--receiver-namespace", "kube-system"); !strings.Contains(r.err, "no receivers were found") {
		t.Errorf("another namespace: %+v", r)
	}
	if r := s.run(webhook.Namespace, "dead-letters", "lisst"); r.status != output.StatusFailed || !strings.Contains(r.err, "did you mean list?") {
		t.Errorf("a mistyped subcommand: %+v", r)
	}
	if r := s.run(webhook.Namespace, "statsu"); r.status != output.StatusFailed || !strings.Contains(r.err, "did you mean status") {
		t.Errorf("a mistyped command: %+v", r)
	}
}
