// Package sink sends CloudEvents to HTTP sinks.
package sink

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxIdlePerHost keeps as many connections as are used at once, so that none is opened per event.
	maxIdlePerHost = 128
	// idleTimeout is below the idle timeouts of common servers and proxies, which close at 60 s and above.
	idleTimeout = 50 * time.Second
	// maxDrain is how much of an answer is read so that its connection can be used again.
	maxDrain = 64 << 10
	// maxRetryAfter bounds how long a sink may ask to be left alone: Mandrill comes again a little later.
	maxRetryAfter = 10 * time.Minute
)

// Target is a sink and how to talk to it.
type Target struct {
	URI     string
	CACerts string // PEM, trusted besides the system's
	Timeout time.Duration
	// Audience of the OIDC token that the sink asks for, empty for none.
	Audience string
}

// Client makes requests to sinks. Its zero value is ready, and it is safe for concurrent use.
type Client struct {
	// Refuse tells which addresses no sink may have, whatever its name; nil: none.
	Refuse func(netip.Addr) bool
	// AllowHosts may have any address: hosts as in the URIs of sinks, in lower case, without a trailing dot.
	AllowHosts []string
	// Proxy finds the proxy for a request; default http.ProxyFromEnvironment. A proxy may have any address.
	Proxy func(*http.Request) (*url.URL, error)
	// Tokens for sinks that ask for one.
	Tokens *Tokens

	mu      sync.Mutex
	clients map[clientKey]*http.Client
}

// way is what requests must have in common to use the same connections. The connections that were checked are never
// mixed with those that were not.
type clientKey struct {
	caCerts [sha256.Size]byte // hash
	proxy   string
	guarded bool
}

// Post makes one attempt. It returns nil when the sink answered 2xx, else an [*Error].
func (c *Client) Post(ctx context.Context, target Target, payload Payload) error {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URI, payload.reader())
	if err != nil {
		return &Error{Err: errors.New("the sink's address is no URL"), final: true}
	}
	maps.Copy(request.Header, payload.Header)
	if target.Audience != "" {
		if err := c.authorize(request, target.Audience); err != nil {
			return err
		}
	}
	client, err := c.client(target.CACerts, request)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if errors.Is(err, errLocal) {
		return &Error{Err: errLocal, final: true}
	}
	if err != nil {
		return &Error{Err: WithoutAddress(err)}
	}
	err = answered(response)
	_ = response.Body.Close()
	return err
}

// answered reads an answer so far that its connection can be used again.
func answered(response *http.Response) error {
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		_, _ = io.CopyN(io.Discard, response.Body, maxDrain) // what the sink says is not for us
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxDrain)) // a part will do
	refusal := &Error{Status: response.StatusCode, Answer: sanitize(said)}
	if refusal.Temporary() {
		refusal.After = retryAfter(response.Header.Get("Retry-After"), time.Now())
	}
	return refusal
}

// retryAfter reads the header of this name: seconds or a date. It is 0 without one that can be read.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}

// authorize adds the token for an audience. That there is none may pass: somebody puts it there.
func (c *Client) authorize(request *http.Request, audience string) error {
	tokens := c.Tokens
	if tokens == nil {
		tokens = &Tokens{}
	}
	token, err := tokens.Token(audience)
	if err != nil {
		return &Error{Err: err}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// client returns the client for a request, which trusts the given certificates.
func (c *Client) client(caCerts string, request *http.Request) (*http.Client, error) {
	find := c.Proxy
	if find == nil {
		find = http.ProxyFromEnvironment
	}
	proxy, err := find(request)
	if err != nil { // its text has the address
		return nil, &Error{Err: errors.New("the proxy's address is no URL")}
	}
	key := clientKey{caCerts: sha256.Sum256([]byte(caCerts)), guarded: c.guarded(request, proxy)}
	if proxy != nil {
		key.proxy = proxy.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.clients[key]; ok {
		return client, nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxy)
	if key.guarded {
		transport.DialContext = c.dialer().DialContext
	}
	transport.MaxIdleConns = 0 // bounded per host
	transport.MaxIdleConnsPerHost = maxIdlePerHost
	transport.IdleConnTimeout = idleTimeout
	if caCerts != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, &Error{Err: fmt.Errorf("reading the system's certificates: %w", err), final: true}
		}
		if !roots.AppendCertsFromPEM([]byte(caCerts)) {
			return nil, &Error{Err: errors.New("the sink's CACerts hold no certificate"), final: true}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.clients == nil {
		c.clients = map[clientKey]*http.Client{}
	}
	c.clients[key] = client
	return client, nil
}
