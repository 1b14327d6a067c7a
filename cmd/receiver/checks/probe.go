package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// probeTimeout bounds each question.
const probeTimeout = 10 * time.Second

// Summary counts routes by what they do.
func Summary(list []routes.Route) string {
	suspended, keyless := 0, 0
	for _, route := range list {
		switch {
		case route.Suspend:
			suspended++
		case len(route.Keys) == 0:
			keyless++
		}
	}
	noun := "routes"
	if len(list) == 1 {
		noun = "route"
	}
	text := fmt.Sprintf("%d %s in order: %d accept batches", len(list), noun, len(list)-suspended-keyless)
	if keyless > 0 {
		text += fmt.Sprintf(", %d wait for a key", keyless)
	}
	if suspended > 0 {
		text += fmt.Sprintf(", %d suspended", suspended)
	}
	return text
}

// Probe resolves the host of a route's URL and asks its sinks with HEAD, which sends no event. It returns lines that say what was found, and
// how many of them are faults. Neither has more of a URL than its host.
func Probe(ctx context.Context, route routes.Route) (lines []string, faults int) {
	add := func(name, text string, err error) {
		if err != nil {
			text = "FAIL: " + explain(err)
			faults++
		}
		lines = append(lines, fmt.Sprintf("  %-9s %s\n", name, text))
	}
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	text, err := resolve(bounded, route.URL)
	add("host", text, err)
	text, err = ask(ctx, route.Sink)
	add("sink", text, err)
	if route.Delivery.DeadLetterSink != nil {
		text, err = ask(ctx, *route.Delivery.DeadLetterSink)
		add("failures", text, err)
	}
	return lines, faults
}

func resolve(ctx context.Context, text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return "", errors.New("the URL cannot be parsed")
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, parsed.Hostname())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s resolves to %d addresses", parsed.Hostname(), len(addresses)), nil
}

// ask asks a sink whether it answers. Any answer shows that name, address and certificate are right.
func ask(ctx context.Context, sink routes.Sink) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(bounded, http.MethodHead, sink.URI, nil)
	if err != nil {
		return "", errors.New("the URI cannot be requested")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if sink.AppProtocol == routes.ProtocolH2C {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if sink.CACerts != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(sink.CACerts))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	_ = response.Body.Close() // HEAD has none
	text := fmt.Sprintf("%s answers, HEAD with %d", request.URL.Host, response.StatusCode)
	if response.TLS != nil {
		days := int(time.Until(response.TLS.PeerCertificates[0].NotAfter).Hours() / 24)
		text += fmt.Sprintf("; its certificate is valid for %d more days", days)
	}
	return text, nil
}

// explain is an error without the URL that the library puts before it.
func explain(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var resolution *net.DNSError
	authority, host := new(x509.UnknownAuthorityError), new(x509.HostnameError)
	switch {
	case errors.As(err, &resolution) && resolution.IsNotFound:
		return "the host " + resolution.Name + " does not exist"
	case errors.As(err, authority):
		return "the certificate is of an authority that is not known: set CACerts"
	case errors.As(err, host):
		return "the certificate is for another host"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within " + probeTimeout.String()
	}
	return err.Error()
}
