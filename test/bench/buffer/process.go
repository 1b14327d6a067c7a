package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a receiver with a buffer.
type process struct {
	command *exec.Cmd
	admin   string
	exited  chan error
}

func startReceiver(ctx context.Context, folder, config string) (*process, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{admin: listener.Addr().String(), exited: make(chan error, 1)}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	p.command = exec.Command("bin/receiver", "--config", config, "--listen=127.0.0.1:0", "--metrics-listen", p.admin, //nolint:gosec,noctx // ours; stopped by stop
		"--buffer=embedded", "--buffer-dir", folder, "--buffer-max-bytes", strconv.Itoa(bufferBytes), "--log-level=warn")
	p.command.Stderr = os.Stderr
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the receiver (make build makes it): %w", err)
	}
	go func() { p.exited <- p.command.Wait() }()
	return p, nil
}

func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // Wait tells whether it was there
	select {
	case err := <-p.exited:
		return err
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the receiver did not stop"), p.command.Process.Kill())
	}
}

// until waits for a condition, of which the receiver is asked. That it does not answer yet is no error.
func (p *process) until(ctx context.Context, condition func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case err := <-p.exited:
			p.exited <- err
			return fmt.Errorf("the receiver ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *process) get(ctx context.Context, path string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return 0, ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(content)
}

// backlog waits until so many events are known to wait.
func (p *process) backlog(ctx context.Context, events int) error {
	return p.until(ctx, func() bool {
		status, body := p.get(ctx, "/metrics")
		for line := range strings.Lines(body) {
			if value, ok := strings.CutPrefix(line, `mandrill_receiver_backlog_events{route="bench"} `); ok {
				waiting, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				return err == nil && int(waiting) == events
			}
		}
		return status == http.StatusOK && events == 0
	})
}

// memory reads the resident memory in MiB: now, and at its peak.
func (p *process) memory() (now, peak float64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	defer file.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64) // 0 of what is no number
		switch name {
		case "VmRSS":
			now = kb / 1024
		case "VmHWM":
			peak = kb / 1024
		}
	}
	return now, peak, lines.Err()
}
