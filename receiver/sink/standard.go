package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink/http1"
)

// A connection of HTTP/2 has all requests to a sink. One on which nothing has arrived for pingAfter is asked whether it still leads to the
// server: otherwise all events would use it, and time out, until the kernel gives it up.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// standardTransport makes requests by net/http: with TLS, by HTTP/2, and through proxies.
type standardTransport struct{ client *http.Client }

func (c *Client) newStandardTransport(target Target, proxy *url.URL, key transportKey) (transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = http.ProxyURL(proxy)
	if key.guarded {
		t.DialContext = c.dialer().DialContext
	}
	t.MaxIdleConns = 0 // bounded per host
	t.MaxIdleConnsPerHost = http1.MaxIdle
	t.IdleConnTimeout = http1.IdleTimeout
	t.MaxResponseHeaderBytes = http1.MaxAnswerHeader
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	if key.http2 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	if target.CACerts != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, &Error{Err: fmt.Errorf("reading the system's certificates: %w", err), permanent: true}
		}
		if !roots.AppendCertsFromPEM([]byte(target.CACerts)) {
			return nil, &Error{Err: errors.New("the sink's CACerts hold no certificate"), permanent: true, reason: reports.ReasonTLS}
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &standardTransport{&http.Client{
		Transport:     routes.Bounded(t),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (t *standardTransport) post(ctx context.Context, to *endpoint, timeout time.Duration, token string, payload Payload) (http1.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body := payload.Body
	if payload.Reused { // net/http may still read it when a server has answered early
		body = bytes.Clone(body)
	}
	// A reader of another type would cost a write of its own for the header.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "", bytes.NewReader(body))
	if err != nil {
		return http1.Answer{}, err
	}
	request.URL, request.Host = to.url, to.url.Host
	request.Header = cloudevent.Header(payload.Fields)
	request.Header["Idempotency-Key"] = nil // not sent: it allows net/http to repeat a request on a connection that was closed meanwhile
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := t.client.Do(request) //nolint:bodyclose // ReadAnswer closes it
	if err != nil {
		return http1.Answer{}, err
	}
	answer, _ := http1.ReadAnswer(response)
	return answer, nil
}

func (t *standardTransport) closeIdle() { t.client.CloseIdleConnections() }
