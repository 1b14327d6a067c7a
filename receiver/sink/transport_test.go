package sink_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// serveRaw starts a server that calls do with each connection, and returns the URL of a sink there.
func serveRaw(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			do(connection)
			_ = connection.Close()
		}
	}()
	return "http://robot:s3ntinel@" + listener.Addr().String() + "/s3ntinel?s3ntinel"
}

// Network errors contain addresses and bytes of the other side. These come from real connections.
func TestNetworkErrorsHaveNoAddress(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	plain := serveRaw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 400 s3ntinel\r\n\r\n")
	})
	hanging := make(chan struct{})
	t.Cleanup(func() { close(hanging) })
	for _, test := range []struct{ uri, want string }{
		{down.URL + "/s3ntinel", "connection refused"},
		{strings.Replace(plain, "http:", "https:", 1), "TLS: not spoken there"},
		{serveRaw(t, func(net.Conn) { <-hanging }), "timeout"},
		{serveRaw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
		}), "connection reset"},
		{serveRaw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64<<10))
		}), "connection closed"},
		{serveRaw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(c, "s3ntinel\r\n\r\n")
		}), "no usable answer"},
	} {
		trusting := sink.Target{URI: test.uri, CACerts: certificate, Timeout: 30 * time.Second}
		if test.want == "timeout" {
			trusting.Timeout = 50 * time.Millisecond
		}
		assertClass(t, (&sink.Client{Proxy: noProxy}).Send(t.Context(), trusting, newEvent()), test.want)
	}
	assertClass(t, (&sink.Client{Proxy: noProxy}).Send(t.Context(), target(secure.URL), newEvent()), "TLS: certificate not trusted")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&sink.Client{Proxy: noProxy}).Send(ended, target(down.URL), newEvent())
	assertClass(t, err, "context canceled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// networkReasons are the reasons of failed attempts, by the text of the error.
var networkReasons = map[string]reports.Reason{
	"connection refused": reports.ReasonUnreachable, "host not reachable": reports.ReasonUnreachable, "timeout": reports.ReasonTimeout,
	"connection reset": reports.ReasonNoAnswer, "connection closed": reports.ReasonNoAnswer, "no usable answer": reports.ReasonNoAnswer,
	"name not found": reports.ReasonUnresolved, "name not resolved": reports.ReasonUnresolved, "context canceled": reports.ReasonOther,
}

func assertReason(t *testing.T, err error, text string) {
	t.Helper()
	want := networkReasons[text]
	if strings.HasPrefix(text, "TLS: ") {
		want = reports.ReasonTLS
	}
	if got := sink.ReasonOf(err); got != want {
		t.Errorf("%s: reason %q, want %q", text, got, want)
	}
}

func assertClass(t *testing.T, err error, want string) {
	t.Helper()
	assertReason(t, err, want)
	if err == nil || err.Error() != "sending to the sink: "+want || !sink.Temporary(err) {
		t.Errorf("got error %v, want %q", err, want)
	} else if strings.Contains(err.Error(), "s3ntinel") || anyAddress.MatchString(err.Error()) {
		t.Errorf("the error has an address: %v", err)
	}
	var timeout interface{ Timeout() bool }
	if got := errors.As(err, &timeout) && timeout.Timeout(); got != (want == "timeout") {
		t.Errorf("%v: is a timeout: %t", err, got)
	}
}

// Errors that are hard to provoke.
func TestRareNetworkErrorsHaveNoAddress(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"name not found":                    &net.DNSError{Err: "s3ntinel", Name: "s3ntinel", IsNotFound: true},
		"name not resolved":                 &net.DNSError{Err: "s3ntinel", Name: "s3ntinel"},
		"timeout":                           &net.DNSError{Err: "s3ntinel", Name: "s3ntinel", IsTimeout: true},
		"host not reachable":                &net.OpError{Op: "dial", Err: os.NewSyscallError("s3ntinel", syscall.EHOSTUNREACH)},
		"TLS: handshake refused":            fmt.Errorf("s3ntinel: %w", tls.AlertError(40)),
		"TLS: certificate for another name": x509.HostnameError{Certificate: &x509.Certificate{}, Host: "s3ntinel"},
		"TLS: certificate expired":          x509.CertificateInvalidError{Reason: x509.Expired, Detail: "s3ntinel"},
		"TLS: certificate not valid":        &tls.CertificateVerificationError{Err: errors.New("s3ntinel")},
		"no usable answer":                  errors.New("s3ntinel"),
	} {
		if got := sink.WithoutAddress(&url.Error{Op: "Post", URL: "s3ntinel", Err: err}); got.Error() != want {
			t.Errorf("got %q, want %q", got, want)
		} else {
			assertReason(t, &sink.Error{Err: got}, want)
		}
	}
}
