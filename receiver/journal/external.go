package journal

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// connectTimeout is for one server, of which several may be tried.
	connectTimeout = 5 * time.Second
	// A connection whose other end is gone is noticed after a few pings.
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
	// reconnectWait is the pause after all servers were tried.
	reconnectWait = 500 * time.Millisecond
)

// External is a server of NATS, or a cluster of them, that somebody else runs. Others may use it, too.
type External struct {
	URLs            []string // of its servers; they may have userinfo
	CredentialsFile string   // read again for each connection; may be empty
	TLS             TLSFiles // without any, what the URLs say
	Logger          *slog.Logger
}

// Alone tells that others may use the streams.
func (e *External) Alone() bool { return false }

// Open connects. The connection is made again when it is lost.
func (e *External) Open(ctx context.Context) (*nats.Conn, func(), error) {
	options := []nats.Option{
		nats.Name("mandrill-receiver"), nats.Timeout(connectTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPingsOut),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // without a connection a batch is refused, and not held in memory
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.Logger.Warn("The buffer's server reported an error", "error", describeConnectError(err).Error())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				e.Logger.Warn("Lost the connection to the buffer's server", "error", describeConnectError(err).Error())
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { e.Logger.Info("Connected to the buffer's server again") }),
	}
	if e.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(e.CredentialsFile))
	}
	if !e.TLS.Empty() {
		config, err := e.TLS.Config()
		if err != nil {
			return nil, nil, err
		}
		options = append(options, nats.Secure(config))
	}
	if e.TLS.CA != "" {
		options = append(options, func(o *nats.Options) error { o.RootCAsCB = e.TLS.authority; return nil })
	}
	conn, err := connect(ctx, strings.Join(e.URLs, ","), options)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting: %w", describeConnectError(err))
	}
	return conn, conn.Close, nil
}

// connect is nats.Connect, but for the context.
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
