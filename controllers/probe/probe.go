// Package probe asks receivers whether they serve a webhook's URL, as Mandrill does before it registers the URL.
package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Timeout bounds one probe.
const Timeout = 10 * time.Second

// Options say which receivers a Prober may ask.
type Options struct {
	PublicURL   string   // of the installation
	ReceiverURL string   // of the shared receiver, empty if it is reached at the public URL
	AllowHosts  []string // to probe although they are local
	Client      *http.Client
	Resolver    *net.Resolver // of hosts that users name; default: the system's
	Connected   Connected     // nil: nothing is called
}

// Connected is called after a request to the host of a URL itself, with its TLS connection or its error.
type Connected func(host string, state *tls.ConnectionState, err error)

// Prober asks receivers.
type Prober struct {
	options Options
	guarded *http.Client // for hosts that users name
}

// New returns a prober.
func New(options Options) *Prober {
	p := &Prober{options, guarded(options.Client, options.Resolver)}
	p.options.Client = bounded(options.Client)
	p.guarded = bounded(p.guarded)
	return p
}

// bounded returns a client whose answers end in time, whatever the server does.
func bounded(client *http.Client) *http.Client {
	with, transport := *client, client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	with.Transport = routes.Bounded(transport)
	return &with
}

// withoutKeepAlive returns a client that makes a connection for each request.
func withoutKeepAlive(client *http.Client) *http.Client {
	transport, ok := client.Transport.(*http.Transport)
	if client.Transport == nil {
		transport, ok = http.DefaultTransport.(*http.Transport)
	}
	if !ok {
		return client
	}
	transport = transport.Clone()
	transport.DisableKeepAlives = true
	without := *client
	without.Transport = transport
	return &without
}

// Probe requests a registered URL as Mandrill will: without a key by HEAD, with a key by an empty batch signed with
// it, which is answered with 200 only if the receiver has the same URL and key.
func (p *Prober) Probe(ctx context.Context, registered, key string, sidecar bool) error {
	_, err := p.probe(ctx, registered, key, sidecar)
	return err
}

// Object returns which object's route the receiver at a URL has for a key, see [routes.Route]. It is empty if nobody answers there, if
// the key is refused, and if what answers does not say.
func (p *Prober) Object(ctx context.Context, registered, key string) string {
	if key == "" {
		return ""
	}
	header, err := p.probe(ctx, registered, key, true)
	if err != nil {
		return ""
	}
	return header.Get(routes.ObjectHeader)
}

// probe returns the header of the answer 200.
func (p *Prober) probe(ctx context.Context, registered, key string, sidecar bool) (http.Header, error) {
	request, err := p.request(ctx, registered, key, sidecar)
	if err != nil {
		return nil, err
	}
	response, err := p.clientFor(request, sidecar).Do(request)
	p.connected(request, response, err)
	if err != nil {
		return nil, &mandrill.TransportError{Call: request.Method, Err: err} // its text has neither the URL nor an address
	}
	defer response.Body.Close() //nolint:errcheck // only the status counts
	_, _ = io.CopyN(io.Discard, response.Body, 1<<10)
	if response.StatusCode != http.StatusOK {
		return nil, &StatusError{request.Method, response.StatusCode}
	}
	return response.Header, nil
}

// connected reports the TLS connection of a request, unless it went elsewhere than the URL says.
func (p *Prober) connected(request *http.Request, response *http.Response, err error) {
	switch {
	case p.options.Connected == nil || request.URL.Host != request.Host:
	case err != nil:
		p.options.Connected(request.Host, nil, err)
	default:
		p.options.Connected(request.Host, response.TLS, nil)
	}
}

// request makes the request of a probe. Its errors do not quote the URL, which may hold secrets.
func (p *Prober) request(ctx context.Context, registered, key string, sidecar bool) (*http.Request, error) {
	target, err := url.Parse(registered)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	host, user := target.Host, target.User
	if p.options.ReceiverURL != "" && !sidecar {
		receiver, err := url.Parse(p.options.ReceiverURL)
		if err != nil {
			return nil, errors.New("the receiver's URL cannot be parsed")
		}
		target.Scheme, target.Host = receiver.Scheme, receiver.Host
	}
	method, body := http.MethodHead, []byte(nil)
	if key != "" {
		method, body = http.MethodPost, []byte(mandrill.EventsField+"=%5B%5D")
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	request.Host = host
	if user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	if key != "" {
		form := mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[]")}}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(key, registered, form))
	}
	return request, nil
}

// StatusError is an answer other than 200.
type StatusError struct {
	Method string
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("it answered %s with status %d", e.Method, e.Status)
}

// clientFor returns the client for a request: the guarded one, unless the installation itself names the host. Behind
// a proxy the proxy decides what it connects to.
func (p *Prober) clientFor(request *http.Request, sidecar bool) *http.Client {
	host := strings.TrimSuffix(strings.ToLower(request.URL.Hostname()), ".")
	public, err := url.Parse(p.options.PublicURL)
	proxy, proxyErr := http.ProxyFromEnvironment(request)
	if p.options.ReceiverURL != "" && !sidecar || err == nil && public.Host == request.URL.Host || slices.Contains(p.options.AllowHosts, host) ||
		proxyErr == nil && proxy != nil {
		return p.options.Client
	}
	return p.guarded
}

var errLocalAddress = errors.New("its host is loopback, link-local or a metadata service; the operator asks there only with --allow-sink-hosts")

// guarded returns a client that does not connect to the operator's own machine, link-local addresses and metadata
// services: a user who names a URL must not make the operator send requests there.
func guarded(client *http.Client, resolver *net.Resolver) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	dialer := &net.Dialer{Timeout: Timeout, Resolver: resolver, Control: routes.Guard(routes.LocalAddress, errLocalAddress)}
	transport.DialContext = dialer.DialContext
	guarded := *client
	guarded.Transport = transport
	return &guarded
}
