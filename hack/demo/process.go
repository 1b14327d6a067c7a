package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one of the project's programs. It can be killed and started again.
type process struct {
	name        string
	args        []string
	environment []string

	mu      sync.Mutex
	command *exec.Cmd
	exited  chan error
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.command = exec.Command(filepath.Join("bin", p.name), p.args...) //nolint:gosec,noctx // ours; ended by stop
	p.command.Env = append(os.Environ(), p.environment...)
	p.command.Stdout, p.command.Stderr = os.Stderr, os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which stops the others in order
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("starting %s (build it with make build): %w", p.name, err)
	}
	p.exited = make(chan error, 1)
	go func(command *exec.Cmd, exited chan<- error) { exited <- command.Wait() }(p.command, p.exited)
	return nil
}

// kill ends the process as a crash does.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.command.Process.Kill(); err != nil {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.exited //nolint:errcheck // it says that the process was killed
	return nil
}

func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails if it has exited already: Wait reports that
	select {
	case err := <-p.exited:
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		return nil
	case <-time.After(deadline):
		return errors.Join(fmt.Errorf("%s did not stop in %s", p.name, deadline), p.command.Process.Kill())
	}
}
