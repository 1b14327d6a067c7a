package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// connectTimeout is for one server, and several may be tried.
	connectTimeout = 5 * time.Second
	// ClientPing is how often the server is pinged; after ClientPings without an answer the connection is closed.
	ClientPing  = 5 * time.Second
	ClientPings = 2
	// ReconnectWait is the pause after all servers were tried.
	ReconnectWait = 500 * time.Millisecond
)

// External is a NATS server, or a cluster of them, that somebody else operates. Other clients may use it too.
type External struct {
	URLs            []string // of its servers; they may have userinfo
	CredentialsFile string   // read again for each connection; may be empty
	TLS             TLSFiles // if empty, the URLs decide
	Logger          *slog.Logger
}

// Open connects. The client reconnects by itself when the connection is lost.
func (e *External) Open(ctx context.Context) (*Connection, error) {
	options := []nats.Option{
		nats.Name("mandrill-receiver"), nats.Timeout(connectTimeout), nats.PingInterval(ClientPing), nats.MaxPingsOutstanding(ClientPings),
		nats.MaxReconnects(-1), nats.ReconnectWait(ReconnectWait),
		nats.ReconnectBufSize(-1), // without a connection a batch is refused, not held in memory
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.Logger.Warn("NATS client reported an error", "error", describeConnectError(err).Error())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				e.Logger.Warn("Lost the connection to NATS", "error", describeConnectError(err).Error())
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { e.Logger.Info("Reconnected to NATS") }),
	}
	if e.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(e.CredentialsFile))
	}
	if !e.TLS.Empty() {
		config, err := e.TLS.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config))
	}
	if e.TLS.CA != "" {
		options = append(options, func(o *nats.Options) error { o.RootCAsCB = e.TLS.loadCA; return nil })
	}
	conn, err := connect(ctx, strings.Join(e.URLs, ","), options)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", describeConnectError(err))
	}
	return &Connection{Conn: conn, Close: conn.Close}, nil
}

// Close does nothing: nothing outlives a connection.
func (e *External) Close() {}

// connect is [nats.Connect] with a context.
func connect(ctx context.Context, url string, options []nats.Option) (*nats.Conn, error) {
	var conn *nats.Conn
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err = nats.Connect(url, options...)
	}()
	select {
	case <-ended:
		return conn, err
	case <-ctx.Done():
		go func() {
			if <-ended; conn != nil {
				conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}
