package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// bufferPlace is where a command finds a buffer: at the admin socket of a running receiver, or in NATS.
type bufferPlace struct {
	socket, dir string
	buffer      bufferOptions // in NATS; with kind "" the socket is used
}

func (p *bufferPlace) addFlags(flags *flag.FlagSet) {
	flags.StringVar(&p.socket, "admin-socket", "", "the --admin-socket of the running receiver")
	flags.StringVar(&p.dir, "buffer-dir", "", "instead: the --buffer-dir of the running receiver, with its default socket")
	flags.StringVar(&p.buffer.kind, "buffer", "", "instead: the --buffer of receivers that use NATS, such as nats://nats:4222")
	p.buffer.addConnection(flags)
}

// check checks that the flags name one buffer, and completes the path of the socket.
func (p *bufferPlace) check() error {
	places := 0
	for _, place := range []string{p.socket, p.dir, p.buffer.kind} {
		if place != "" {
			places++
		}
	}
	switch {
	case places == 0:
		return errors.New("give the --buffer-dir DIR or --admin-socket PATH of the running receiver, or the --buffer of receivers that use NATS")
	case places > 1:
		return errors.New("give one of --buffer-dir, --admin-socket and --buffer")
	case p.buffer.kind != "":
		return p.buffer.checkConnection()
	case p.socket == "":
		p.socket = filepath.Join(p.dir, adminSocketName)
	}
	return nil
}

// connectTimeout bounds the wait for NATS.
const connectTimeout = 20 * time.Second

// use calls one of two functions: atSocket with a client of the admin socket, or atNATS with the buffer in NATS.
func (p *bufferPlace) use(ctx context.Context, atSocket func(*socketClient) error, atNATS func(*journal.Journal) error) (err error) {
	if p.buffer.kind == "" {
		client, err := newSocketClient(p.socket)
		if err != nil {
			return err
		}
		return atSocket(client)
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	external, err := p.buffer.external(logger)
	if err != nil {
		return err
	}
	opened := journal.New(journal.Options{Engine: external, Name: p.buffer.name, KeepLimits: true, Existing: true, Logger: logger})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- opened.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	opening, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	available := make(chan error, 1)
	go func() { available <- opened.WaitAvailable(opening) }()
	select {
	case failed := <-ended:
		ended <- nil
		return failed
	case err := <-available:
		if err != nil {
			return fmt.Errorf("opening the buffer: %w", err)
		}
	}
	return atNATS(opened)
}
