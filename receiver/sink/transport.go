package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
)

// failure is the class of an error of the network.
type failure struct {
	text    string
	timeout bool
}

func (f *failure) Error() string { return f.text }

// Timeout tells whether something was not there in time.
func (f *failure) Timeout() bool { return f.timeout }

// WithoutAddress reduces an error of a request to its class, one of a closed set. Such errors have addresses, names of
// hosts, URLs, and what the other side sent, none of which is for a log. An ended context stays what it is.
func WithoutAddress(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	for _, class := range []func(error) string{ofName, ofCertificate, ofTLS, ofConnection} {
		if text := class(err); text != "" {
			return &failure{text: text}
		}
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return &failure{"timeout", true}
	}
	return &failure{text: "no usable answer"}
}

func ofName(err error) string {
	unresolved := new(net.DNSError)
	switch {
	case !errors.As(err, &unresolved) || unresolved.IsTimeout:
		return ""
	case unresolved.IsNotFound:
		return "name not found"
	}
	return "name not resolved"
}

func ofCertificate(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "TLS: certificate not trusted"
	case errors.As(err, new(x509.HostnameError)):
		return "TLS: certificate for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS: certificate expired"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "TLS: certificate not valid"
	}
	return ""
}

func ofTLS(err error) string {
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return "TLS: not spoken there"
	case errors.As(err, new(tls.AlertError)):
		return "TLS: handshake refused"
	}
	return ""
}

func ofConnection(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host not reachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return ""
}
