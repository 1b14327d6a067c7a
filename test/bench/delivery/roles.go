package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// The roles of the processes that the benchmark starts, besides the receiver.
const (
	roleSink     = "sink"
	roleLoad     = "load"
	rolePlain    = "plain"
	roleFloor    = "floor"
	roleNetHTTP  = "poster-nethttp"
	roleFastHTTP = "poster-fasthttp"
)

// job is what a process is told to do, as a line of JSON on its standard input. It answers each with a line.
type job struct {
	Do       string // prepare, run, count
	To       string // address of the server
	Sink     string // URL
	Seed     uint64
	Size     int // events of a batch
	Batches  int
	Inflight int // requests, or batches
	Webhooks int
	Batched  bool
}

// result is the answer to a job.
type result struct {
	Address  string // of a server, in the first line that it writes
	Events   int
	Bytes    int
	Took     time.Duration
	P50, P99 time.Duration // of a request, or a batch
	Err      string
}

// role does jobs.
type role interface {
	do(ctx context.Context, j job) (result, error)
}

// serveRole runs a role until its standard input ends, or the process is told to stop.
func serveRole(ctx context.Context, name string) error {
	start, ok := map[string]func(context.Context) (role, string, error){
		roleSink: startSink, rolePlain: startPlain, roleFloor: startFloor,
		roleLoad:     func(context.Context) (role, string, error) { return &loadGenerator{}, "", nil },
		roleNetHTTP:  func(context.Context) (role, string, error) { return &poster{newClient: newNetHTTPClient}, "", nil },
		roleFastHTTP: func(context.Context) (role, string, error) { return &poster{newClient: newFastHTTPClient}, "", nil },
	}[name]
	if !ok {
		return fmt.Errorf("no role is named %q", name)
	}
	context.AfterFunc(ctx, func() { os.Exit(0) }) // reading the next job does not end with the context
	r, address, err := start(ctx)
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	if err := out.Encode(result{Address: address}); err != nil {
		return err
	}
	for {
		var j job
		if err := in.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		found, err := r.do(ctx, j)
		if err != nil {
			found.Err = err.Error()
		}
		if err := out.Encode(found); err != nil {
			return err
		}
	}
}

// process is a process with a role.
type process struct {
	program *harness.Program
	address string

	mu  sync.Mutex // a job at a time
	in  *json.Encoder
	out *json.Decoder
}

func startProcess(died context.CancelCauseFunc, name string) (*process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(executable, "-role", name) //nolint:gosec,noctx // this program; stopped by Stop
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	command.Stderr = os.Stderr
	p := &process{in: json.NewEncoder(stdin), out: json.NewDecoder(stdout)}
	if p.program, err = harness.StartCommand(died, name, command); err != nil {
		return nil, err
	}
	var first result
	if err := p.out.Decode(&first); err != nil {
		return p, fmt.Errorf("starting %s: %w", name, err)
	}
	p.address = first.Address
	return p, nil
}

// do gives the process a job and waits for its end.
func (p *process) do(j job) (result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found result
	if err := p.in.Encode(j); err != nil {
		return found, fmt.Errorf("%s: %w", p.program.Name, err)
	}
	if err := p.out.Decode(&found); err != nil {
		return found, fmt.Errorf("%s: %w", p.program.Name, err)
	}
	if found.Err != "" {
		return found, fmt.Errorf("%s: %s", p.program.Name, found.Err)
	}
	return found, nil
}
