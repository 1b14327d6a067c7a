// Package harness is what the benchmarks have in common: the project's programs while they run, what the kernel and their
// metrics say of them, and a word to whoever waits.
package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stopPatience is how long a program may take to stop.
	stopTimeout = 30 * time.Second
	// ticksPerSecond is the unit of CPU time in /proc, the same on every Linux that Go runs on.
	ticksPerSecond = 100
)

// Program is one of the project's programs while it runs.
type Program struct {
	Name     string
	command  *exec.Cmd
	stopping atomic.Bool
	exited   chan error
}

// Start runs a program until it is stopped. When it ends before, died is told.
func Start(died context.CancelCauseFunc, name string, args ...string) (*Program, error) {
	p := &Program{Name: name, exited: make(chan error, 1)}
	p.command = exec.Command(filepath.Join("bin", name), args...) //nolint:gosec,noctx // ours; stopped by Stop
	p.command.Stdout, p.command.Stderr = os.Stderr, os.Stderr
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (make build makes it): %w", name, err)
	}
	go func() {
		err := p.command.Wait()
		if !p.stopping.Load() {
			died(fmt.Errorf("%s ended by itself: %s", name, p.command.ProcessState))
		}
		p.exited <- err
	}()
	return p, nil
}

// Stop ends the program. One that never started, or was stopped, is left alone.
func (p *Program) Stop() error {
	if p == nil || p.stopping.Swap(true) {
		return nil
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended by itself, which Wait tells
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
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), file)) //nolint:gosec // of a process of ours
	if err != nil {
		return "", fmt.Errorf("reading what the kernel knows of %s: %w", p.Name, err)
	}
	return string(data), nil
}

// CPU is the CPU time that the program has used.
func (p *Program) CPU() (time.Duration, error) {
	stat, err := p.proc("stat")
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may hold anything; what follows it starts with the third.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, fmt.Errorf("reading the CPU time of %s: %d fields", p.Name, len(fields))
	}
	var ticks int64
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of %s: %w", p.Name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// PeakMemory is the most memory that the program has had resident so far, in bytes.
func (p *Program) PeakMemory() (int64, error) { return p.status("VmHWM") }

// Memory is what it has resident now, in bytes.
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
	return 0, fmt.Errorf("reading the memory of %s: the kernel does not say", p.Name)
}

// Say tells whoever waits for the table how far it is.
func Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// FreeAddress is one on this machine that nobody listens on.
func FreeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
