package main

import (
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

// pprofHandler serves profiles, but not the command line.
func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // also serves the named ones: heap, goroutine and others
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
