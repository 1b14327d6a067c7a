// Package emulator_test runs the examples of docs/emulator.md.
package emulator_test

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const page = "../../docs/emulator.md"

var update = flag.Bool("update", false, "rewrite the answers in docs/emulator.md")

var block = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")

// fraction is that of a time, which goes on while the examples run.
var fraction = regexp.MustCompile(`\.\d{6}\b`)

// answer is how an example shows what a command prints. A long answer is cut.
const (
	answer    = "# → "
	maxAnswer = 120
)

// environment starts an emulator and a consumer, and returns the variables that the examples use.
func environment(t *testing.T) []string {
	t.Helper()
	consumer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(consumer.Close)
	_, api := mandrilltest.Start(t, mandrilltest.Options{Seed: 1, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Speed: 0.001, BatchInterval: 1000 * time.Hour})
	return append(os.Environ(), "MANDRILL="+strings.TrimSuffix(api, "/api/1.0"), "HOOK="+consumer.URL+"/hook")
}

// commandsOf splits a block into commands without the answers that it shows.
func commandsOf(text string) (commands []string) {
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, answer):
		case strings.HasPrefix(line, " "):
			commands[len(commands)-1] += line
		default:
			commands = append(commands, line)
		}
	}
	return commands
}

// The commands of the page work in the order in which they are, and print what it says.
func TestCommandsOfThePage(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	variables, commands := environment(t), 0
	want := block.ReplaceAllStringFunc(string(data), func(found string) string {
		language := block.FindStringSubmatch(found)
		if language[1] != "sh" {
			return found
		}
		var out strings.Builder
		out.WriteString("```sh\n")
		for _, command := range commandsOf(language[2]) {
			commands++
			run := exec.CommandContext(t.Context(), "sh", "-c", command)
			run.Env = variables
			printed, err := run.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", command, err, printed)
			}
			out.WriteString(command + shown(string(printed), variables))
		}
		return out.String() + "```"
	})
	if commands < 20 {
		t.Errorf("only %d commands were found", commands)
	}
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, line := range strings.Split(want, "\n") {
		if got := strings.Split(string(data), "\n"); i >= len(got) || got[i] != line {
			t.Fatalf("%s:%d: want %s; -update rewrites the answers", page, i+1, line)
		}
	}
}

// shown returns an answer as the page has it.
func shown(printed string, variables []string) string {
	if printed == "" {
		return ""
	}
	for _, variable := range variables {
		if name, value, _ := strings.Cut(variable, "="); name == "HOOK" {
			printed = strings.ReplaceAll(printed, value, "http://127.0.0.1:3000/hook")
		}
	}
	printed = strings.Replace(fraction.ReplaceAllString(printed, ".000000"), `"speed":0.001`, `"speed":1`, 1) // a slow clock makes times the same
	if strings.Contains(printed, "error") && strings.Contains(printed, `"name"`) || !strings.HasPrefix(printed, "{") && !strings.HasPrefix(printed, "[") {
		return answer + "ERROR " + printed + "\n"
	}
	if letters := []rune(printed); len(letters) > maxAnswer {
		printed = string(letters[:maxAnswer]) + "…"
	}
	return answer + printed + "\n"
}

// The helper for Node works as the page shows it.
func TestNodeHelperOfThePage(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, found := range block.FindAllStringSubmatch(string(data), -1) {
		if found[1] == "js" {
			script.WriteString(found[2])
		}
	}
	run := exec.CommandContext(t.Context(), node, "--input-type=module", "-")
	run.Env, run.Stdin = environment(t), strings.NewReader(script.String())
	if printed, err := run.CombinedOutput(); err != nil || !strings.Contains(script.String(), "assert") {
		t.Errorf("%v: %s", err, printed)
	}
}
