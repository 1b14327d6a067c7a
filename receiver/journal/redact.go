package journal

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"regexp"

	"github.com/nats-io/nats.go"
)

// addresses are what logs must not have: URLs with what may be in them, addresses, names with a port, and names that are
// looked up.
var addresses = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://\S+|\[[0-9a-fA-F:.%]+\](:\d+)?|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?|\b[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*:\d{1,5}\b`)

var lookups = regexp.MustCompile(`\blookup [^\s:]+`)

// redact takes addresses out of a text of somebody else.
func redact(text string) string {
	return addresses.ReplaceAllString(lookups.ReplaceAllString(text, "lookup [address]"), "[address]")
}

// wordsError says in our words what kept a connection from being made.
type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }

// inWords makes an error without addresses of one.
func describeConnectError(err error) error {
	words := redact(err.Error())
	var unresolved *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired):
		words = "the server refused the credentials"
	case errors.Is(err, nats.ErrPermissionViolation):
		words = "the server does not permit a subject that the buffer needs"
	case errors.Is(err, nats.ErrNoServers):
		words = "no server accepts connections"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		words = "the server's certificate is not trusted"
	case errors.As(err, new(x509.HostnameError)):
		words = "the server's certificate is for another name"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		words = "the server's certificate is not valid"
	case errors.As(err, &unresolved):
		words = "a server's name was not resolved"
	case errors.As(err, &timeout) && timeout.Timeout():
		words = "no server answered in time"
	}
	return &redactedError{words, err}
}
