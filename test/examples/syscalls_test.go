package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// traced returns a command that writes the system calls of a program, which becomes the process itself, into a file. Without strace, or
// where it may not trace, the command is the program and the file is "".
func traced(t *testing.T, program string) (command []string, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "calls")
	command = []string{"strace", "-D", "-f", "-q", "-o", file}
	if output, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil || len(output) > 0 {
		return []string{program}, ""
	}
	return append(command, program), file
}

var (
	calledName   = regexp.MustCompile(`(?m)^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)`)
	calledSocket = regexp.MustCompile(`socket\((AF_\w+)`)
)

// checkCalls compares the system calls of the receiver with what the unit allows.
func checkCalls(t *testing.T, unit map[string][]string, file string) {
	t.Helper()
	if file == "" {
		t.Skip("SKIPPED, SYSTEM CALLS OF THE RECEIVER NOT COMPARED WITH THE UNIT: there is no strace, or it may not trace here")
	}
	analyze := findProgram(t, "SYSTEM CALLS OF THE RECEIVER", "systemd-analyze")
	var trace string
	poll.True(t, patience, "the trace is complete", func() bool {
		data, err := os.ReadFile(file)
		trace = string(data)
		return err == nil && strings.Contains(trace, "+++ exited with 0 +++")
	})
	allowed := map[string]bool{}
	for _, filter := range unit["SystemCallFilter"] {
		names, denied := strings.CutPrefix(filter, "~")
		for _, name := range strings.Fields(names) {
			for _, call := range systemCalls(t, analyze, name) {
				allowed[call] = !denied
			}
		}
	}
	var used []string
	for _, match := range calledName.FindAllStringSubmatch(trace, -1) {
		used = append(used, match[1])
	}
	slices.Sort(used)
	if used = slices.Compact(used); len(used) < 30 {
		t.Errorf("only these system calls were found: %v", used)
	}
	for _, call := range used {
		if !allowed[call] {
			t.Errorf("the unit forbids the system call %s", call)
		}
	}
	for _, match := range calledSocket.FindAllStringSubmatch(trace, -1) {
		if !slices.Contains(strings.Fields(unit["RestrictAddressFamilies"][0]), match[1]) {
			t.Errorf("the unit forbids %s", match[1])
		}
	}
}

// systemCalls returns the calls of one of systemd's groups, and of those that it includes.
func systemCalls(t *testing.T, analyze, group string) (calls []string) {
	t.Helper()
	command := exec.Command(analyze, "syscall-filter", "--no-pager", group)
	command.Env = append(libraries(), "SYSTEMD_COLORS=0")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter %s: %v", group, err)
	}
	for line := range strings.Lines(string(output)) {
		switch name := strings.TrimSpace(line); {
		case !strings.HasPrefix(line, "    ") || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(name, "@"):
			calls = append(calls, systemCalls(t, analyze, name)...)
		default:
			calls = append(calls, name)
		}
	}
	return calls
}
