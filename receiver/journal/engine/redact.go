package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"regexp"

	"github.com/nats-io/nats.go"
)

// addresses matches what logs must not hold: URLs, which may have credentials, IP addresses, and names with a port.
var addresses = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://\S+|\[[0-9a-fA-F:.%]+\](:\d+)?|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?|\b[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*:\d{1,5}\b`)

// lookups matches names in errors of the resolver.
var lookups = regexp.MustCompile(`\blookup [^\s:]+`)

// redact removes addresses from a text.
func redact(text string) string {
	return addresses.ReplaceAllString(lookups.ReplaceAllString(text, "lookup [address]"), "[address]")
}

// redactedError is an error with a text that holds no address.
type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }

// describeConnectError says why a connection failed, without addresses.
func describeConnectError(err error) error {
	text := redact(err.Error())
	var unresolved *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired):
		text = "the server refused the credentials"
	case errors.Is(err, nats.ErrPermissionViolation):
		text = "the server does not permit a subject that the buffer needs"
	case errors.Is(err, nats.ErrNoServers):
		text = "no server accepts connections"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		text = "the server's certificate is not trusted"
	case errors.As(err, new(x509.HostnameError)):
		text = "the server's certificate is for another name"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		text = "the server's certificate is not valid"
	case errors.As(err, &unresolved):
		text = "the name of a server could not be resolved"
	case errors.As(err, &timeout) && timeout.Timeout():
		text = "no server answered in time"
	}
	return &redactedError{text, err}
}
