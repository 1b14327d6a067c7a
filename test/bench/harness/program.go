// Package harness has what the benchmarks share: running the project's programs, reading their CPU time, memory and metrics, and
// reporting progress.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopTimeout is how long a program may take to stop.
	stopTimeout = 30 * time.Second
)

// Program is a running program of the project.
type Program struct {
	Name     string
	command  *exec.Cmd
	stopping atomic.Bool
	exited   chan error
}

// Start starts a program of bin/. If it exits before Stop, died is called with the reason.
func Start(died context.CancelCauseFunc, name string, args ...string) (*Program, error) {
	return StartCommand(died, name, Command(filepath.Join("bin", name), args...))
}

// Command is a command that writes to standard error.
func Command(path string, args ...string) *exec.Cmd {
	command := exec.Command(path, args...) //nolint:gosec,noctx // ours; stopped by Stop
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	return command
}

// StartCommand starts a command. If it exits before Stop, died is called with the reason.
func StartCommand(died context.CancelCauseFunc, name string, command *exec.Cmd) (*Program, error) {
	p := &Program{Name: name, command: command, exited: make(chan error, 1)}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (run make build first): %w", name, err)
	}
	go func() {
		err := p.command.Wait()
		if !p.stopping.Load() {
			died(fmt.Errorf("%s exited: %s", name, p.command.ProcessState))
		}
		p.exited <- err
	}()
	return p, nil
}

// Stop stops the program. It does nothing for a program that was not started, or was stopped before.
func (p *Program) Stop() error {
	if p == nil || p.stopping.Swap(true) {
		return nil
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails if the program exited, which Wait reports
	select {
	case err := <-p.exited:
		if err != nil {
			return fmt.Errorf("stopping %s: %w", p.Name, err)
		}
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("%s did not stop in %s", p.Name, stopTimeout), p.command.Process.Kill(), <-p.exited)
	}
}

func (p *Program) proc(file string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), file)) //nolint:gosec // our own process
	if err != nil {
		return "", fmt.Errorf("reading /proc of %s: %w", p.Name, err)
	}
	return string(data), nil
}

// CPU returns the CPU time that the program has used.
func (p *Program) CPU() (time.Duration, error) {
	used, err := CPUOf(p.command.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of %s: %w", p.Name, err)
	}
	return used, nil
}

// CPUOf returns the CPU time that a process has used, by its clock: the counts of /proc are in steps of 10 ms.
func CPUOf(process int) (time.Duration, error) {
	const scheduler = 2 // as in the kernel's CPUCLOCK_SCHED
	var used unix.Timespec
	err := unix.ClockGettime(int32(^process<<3|scheduler), &used) //nolint:gosec // as clock_getcpuclockid makes it
	return time.Duration(used.Nano()), err
}

// PeakMemory returns the highest resident memory so far, in bytes.
func (p *Program) PeakMemory() (int64, error) { return p.status("VmHWM") }

// Memory returns the resident memory, in bytes.
func (p *Program) Memory() (int64, error) { return p.status("VmRSS") }

func (p *Program) status(field string) (int64, error) {
	status, err := p.proc("status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kibibytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the memory of %s: %w", p.Name, err)
			}
			return kibibytes << 10, nil
		}
	}
	return 0, fmt.Errorf("reading the memory of %s: the kernel does not report it", p.Name)
}

// Logf reports progress on standard error: standard output has the table only.
func Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
