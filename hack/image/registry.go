package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// serveRegistry serves an empty registry on loopback until the context ends.
func serveRegistry(ctx context.Context, addressFile string) error {
	if addressFile == "" {
		return errors.New("give -address-file")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	written := addressFile + ".new" // a program that waits for the file reads all of it
	if err := os.WriteFile(written, []byte(listener.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(written, addressFile); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
