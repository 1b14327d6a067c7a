package receiver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateMaxAge is how long a certificate is used before its files are read again. Certificates are renewed days before
// they expire.
const certificateMaxAge = 10 * time.Second

// Certificate is the server's certificate, read from two PEM files and read again when they are renewed. It is safe for
// concurrent use.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	pair    [2][]byte // what current was made of
	read    time.Time
}

// NewCertificate reads a certificate and its key.
func NewCertificate(certFile, keyFile string, logger *slog.Logger, now func() time.Time) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger, now: now}
	return c, c.load()
}

// Config returns the server's TLS configuration.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get returns the certificate of the files as they were at most certificateMaxAge ago. Files that cannot be used change
// nothing.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.read) >= certificateMaxAge {
		if err := c.load(); err != nil {
			c.logger.Error("Could not reload the certificate, the last good one stays", "error", err.Error())
		}
	}
	return c.current, nil
}

func (c *Certificate) load() error {
	c.read = c.now()
	var pair [2][]byte
	for i, path := range []string{c.certFile, c.keyFile} {
		data, err := os.ReadFile(path) //nolint:gosec // named by a flag
		if err != nil {
			return fmt.Errorf("reading the certificate: %w", err)
		}
		pair[i] = data
	}
	if c.current != nil && bytes.Equal(pair[0], c.pair[0]) && bytes.Equal(pair[1], c.pair[1]) {
		return nil
	}
	certificate, err := tls.X509KeyPair(pair[0], pair[1])
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	c.current, c.pair = &certificate, pair
	return nil
}
