package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// connectPatience is how long NATS may take to answer a command.
const connectPatience = 20 * time.Second

// atNATS runs a command on a buffer that is elsewhere. It asks as it would ask a receiver.
func (c *deadLetterCommand) atNATS(ctx context.Context) (err error) {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	external, err := c.buffer.external(logger)
	if err != nil {
		return err
	}
	letters := journal.New(journal.Options{Engine: external, Name: c.buffer.name, KeepLimits: true, Existing: true, Logger: logger})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- letters.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	opening, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	opened := make(chan error, 1)
	go func() { opened <- letters.WaitAvailable(opening) }()
	select {
	case failed := <-ended:
		ended <- nil
		return failed
	case err := <-opened:
		if err != nil {
			return fmt.Errorf("the buffer could not be opened: %w", err)
		}
	}
	folder, err := os.MkdirTemp("", "receiver-")
	if err != nil {
		return fmt.Errorf("making a folder for a socket: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	socket := filepath.Join(folder, adminSocketName)
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	server := &http.Server{Handler: admin.DeadLettersHandler(letters, logger), ReadHeaderTimeout: connectPatience}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()                       //nolint:errcheck // nothing depends on it
	client, err := newSocketClient(socket)
	if err != nil {
		return err
	}
	return c.do(c, ctx, client)
}
