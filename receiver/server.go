package receiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// shutdownTimeout is how long requests in flight may take after the server was told to stop: as long as a batch in Direct
// mode.
const shutdownTimeout = directTimeout + 5*time.Second

// Server answers on a listener. Listener, Handler and Logger are required.
type Server struct {
	Listener net.Listener
	Handler  http.Handler
	Logger   *slog.Logger
	TLS      *tls.Config   // nil: no TLS
	Delay    time.Duration // how long to keep serving after being told to stop, so that load balancers notice
}

// Serve answers HTTP/1.1 and HTTP/2 until the context ends, keeps serving for the delay, and then finishes the requests in
// flight.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerConnection: http2Buffer, MaxReceiveBufferPerStream: http2Buffer},
		ErrorLog:          log.New(serverLog{s.Logger}, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	group, stopping := errgroup.WithContext(ctx)
	group.Go(func() error {
		serve := server.Serve
		if s.TLS != nil {
			serve = func(listener net.Listener) error { return server.ServeTLS(listener, "", "") }
		}
		if err := serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving on %s: %w", s.Listener.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		<-stopping.Done()
		if ctx.Err() != nil && s.Delay > 0 { // told to stop, not failed
			s.Logger.Info("Was told to stop, serving until load balancers have noticed", "delaySeconds", s.Delay.Seconds())
			<-time.After(s.Delay)
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			return fmt.Errorf("finishing requests on %s: %w", s.Listener.Addr(), err)
		}
		return nil
	})
	return group.Wait()
}
