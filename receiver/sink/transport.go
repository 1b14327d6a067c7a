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

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// networkError is the class of a network error.
type networkError struct {
	text   string
	reason reports.Reason
}

func (e *networkError) Error() string { return e.text }

// Timeout implements [net.Error] in part.
func (e *networkError) Timeout() bool { return e.reason == reports.ReasonTimeout }

// WithoutAddress reduces the error of a request to one of a closed set of texts. The original contains addresses, host
// names, URLs, or bytes that the other side sent, none of which may be logged. A canceled context stays as it is.
func WithoutAddress(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	for _, class := range networkClasses {
		if text := class.describe(err); text != "" {
			return &networkError{text, class.reason}
		}
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return &networkError{"timeout", reports.ReasonTimeout}
	}
	return &networkError{"no usable answer", reports.ReasonNoAnswer}
}

// networkClasses are the classes of network errors. Each has a function that returns the text of an error of the class, and of
// others nothing.
var networkClasses = []struct {
	describe func(error) string
	reason   reports.Reason
}{
	{describeDNS, reports.ReasonUnresolved},
	{describeCertificate, reports.ReasonTLS},
	{describeTLS, reports.ReasonTLS},
	{describeUnreachable, reports.ReasonUnreachable},
	{describeClosed, reports.ReasonNoAnswer},
}

func describeDNS(err error) string {
	unresolved := new(net.DNSError)
	switch {
	case !errors.As(err, &unresolved) || unresolved.IsTimeout:
		return ""
	case unresolved.IsNotFound:
		return "name not found"
	}
	return "name not resolved"
}

func describeCertificate(err error) string {
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

func describeTLS(err error) string {
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return "TLS: not spoken there"
	case errors.As(err, new(tls.AlertError)):
		return "TLS: handshake refused"
	}
	return ""
}

func describeUnreachable(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host not reachable"
	}
	return ""
}

func describeClosed(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return ""
}
