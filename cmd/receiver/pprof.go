package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
)

// localByDefault adds the loopback address to an address without a host, so that only this machine can reach it.
func localByDefault(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// profilesPart returns a function that serves profiles if there is --pprof-listen.
func (o *options) profilesPart(ctx context.Context, logger *slog.Logger) (func(context.Context) error, error) {
	if o.pprofListen == "" {
		return nothing, nil
	}
	server, err := newServer(ctx, "--pprof-listen", localByDefault(o.pprofListen), pprofHandler(), logger)
	if err != nil {
		return nil, err
	}
	logger.Info("Serving profiles", "pprofListen", server.Listener.Addr().String())
	return server.Serve, nil
}

// pprofHandler serves profiles, but not the command line.
func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // also serves the named ones: heap, goroutine and others
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
