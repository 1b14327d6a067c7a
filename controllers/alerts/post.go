package alerts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
)

// maxAnswer is how much of an answer is read, so that its connection can be used again.
const maxAnswer = 16 << 10

// The errors of requests have no address, no answer and no name that was resolved: they are shown to everybody who may read the object.
var (
	errLocal       = errors.New("its name resolves to the operator's machine, a link-local address or a metadata service")
	errUnresolved  = errors.New("its name is not resolved")
	errTimeout     = errors.New("it does not answer in time")
	errTLS         = errors.New("its certificate is not accepted")
	errUnreachable = errors.New("there is no connection")
	errNoAnswer    = errors.New("the connection ends without an answer")
)

// answerError is an answer after which an alert is sent again.
type answerError int

func (e answerError) Error() string { return fmt.Sprintf("it answers with status %d", int(e)) }

// refusedError is an answer after which an alert is given up.
type refusedError int

func (e refusedError) Error() string { return fmt.Sprintf("it refuses alerts with status %d", int(e)) }

// client returns a client for requests to a sink, and what ends its connections.
func (a *Alerter) client(to *sinks.Sink) (client *http.Client, done func()) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: requestTimeout, MaxIdleConnsPerHost: 1, ForceAttemptHTTP2: true}
	dialer := &net.Dialer{Timeout: requestTimeout}
	if a.isGuarded(to.URI) {
		dialer.Control = routes.Guard(a.options.Refuse, errLocal)
	}
	transport.DialContext = dialer.DialContext
	if to.CACerts != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM([]byte(to.CACerts))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client = &http.Client{Transport: routes.Bounded(transport), Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client, transport.CloseIdleConnections
}

// isGuarded reports whether the address that a sink's name resolves to must be checked. The administrator chose the proxy, so its
// address is not checked.
func (a *Alerter) isGuarded(uri string) bool {
	parsed, err := url.Parse(uri)
	if err != nil {
		return true
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: parsed}); err == nil && proxy != nil {
		return false
	}
	return !slices.Contains(a.options.AllowHosts, strings.TrimSuffix(strings.ToLower(parsed.Hostname()), "."))
}

// post sends an alert in Binary mode. All attributes are printable ASCII, as the binding to HTTP demands of headers.
func post(ctx context.Context, client *http.Client, uri string, one *alert) error {
	// A request under way ends in its own time when the operator stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, bytes.NewReader(one.data))
	if err != nil {
		return errUnresolved
	}
	for name, value := range map[string]string{
		"content-type": "application/json", "ce-specversion": "1.0", "ce-id": one.id, "ce-type": one.ceType,
		"ce-source":  "/apis/mandrill-operator.io/namespaces/" + one.object.Namespace + "/mandrillwebhooks/" + one.object.Name,
		"ce-subject": one.object.String(), "ce-partitionkey": one.object.String(), "ce-time": one.at.UTC().Format(time.RFC3339Nano),
		"ce-dataschema": eventtypes.EventType{Type: one.ceType}.Schema(),
	} {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return classify(err)
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	_ = response.Body.Close()
	switch status := response.StatusCode; {
	case status >= 200 && status <= 299:
		return nil
	case status >= 500, slices.Contains([]int{http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests}, status):
		return answerError(status)
	default:
		return refusedError(status)
	}
}

// classify reduces the error of a request to one of a few.
func classify(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, errLocal):
		return errLocal
	case errors.As(err, new(*net.DNSError)):
		return errUnresolved
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return errTimeout
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(tls.AlertError)):
		return errTLS
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return errUnreachable
	}
	return errNoAnswer
}
