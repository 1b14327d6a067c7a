package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// controlPlane are the processes that the benchmark starts beside the project's programs, by their names.
var controlPlane = []string{"kube-apiserver", "etcd"}

// use is CPU time by the name of the program.
type use map[string]time.Duration

// used returns the CPU time that the operator and the control plane have used so far.
func (b *bench) used() (use, error) {
	now := use{}
	var err error
	if now[b.stack.operator.Name], err = b.stack.operator.CPU(); err != nil {
		return nil, err
	}
	processes, err := children()
	if err != nil {
		return nil, err
	}
	for _, name := range controlPlane {
		if processes[name] == 0 {
			return nil, fmt.Errorf("%s is not a child of the benchmark", name)
		}
		if now[name], err = harness.CPUOf(processes[name]); err != nil {
			return nil, fmt.Errorf("reading the CPU time of %s: %w", name, err)
		}
	}
	return now, nil
}

// since formats the CPU time that was used after an earlier measurement, also by write if there were any.
func (u use) since(before use, writes int) string {
	var all, each []string
	for _, name := range append([]string{"operator"}, controlPlane...) {
		took := u[name] - before[name]
		all = append(all, name+" "+seconds(took))
		each = append(each, fmt.Sprintf("%.1f", took.Seconds()*1000/float64(max(writes, 1))))
	}
	text := strings.Join(all, ", ")
	if writes > 0 {
		text += "; a write " + strings.Join(each, ", ") + " ms"
	}
	return text
}

// children returns the numbers of the benchmark's child processes by their names.
func children() (map[string]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	found := map[string]int{}
	for _, path := range stats {
		data, err := os.ReadFile(path) //nolint:gosec // a file of the kernel
		if err != nil {
			continue // it has ended
		}
		number, rest, _ := strings.Cut(string(data), " (")
		name, rest, _ := strings.Cut(rest, ") ")
		fields := strings.Fields(rest)
		id, err := strconv.Atoi(number)
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			found[name] = id
		}
	}
	return found, nil
}
