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

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// maxIdlePerHost is above the requests in flight to one sink, so that connections are reused for the next events.
	maxIdlePerHost = 128
	// idleTimeout is below the idle timeouts of common servers and proxies, which close at 60 s and above.
	idleTimeout = 50 * time.Second
	// idleClientTimeout is how long the client for a set of CACerts is kept without a request.
	idleClientTimeout = 10 * time.Minute
	// maxDrain bounds what is read of an answer to make its connection reusable.
	maxDrain = 64 << 10
	// maxRetryAfter bounds Retry-After. It is below the interval at which Mandrill repeats a batch.
	maxRetryAfter = 10 * time.Minute
)

// Target is a sink and how to reach it.
type Target struct {
	URI      string
	CACerts  string        // PEM, trusted in addition to the system's
	Timeout  time.Duration // of one request
	Audience string        // of the OIDC token to send; empty: none
	// Webhook names the sink. What is known of a sink is kept for each webhook apart, so that none can open the circuit of
	// another, or slow it down, by naming the same sink.
	Webhook string
}

// Client makes requests to sinks. Its zero value is ready, and it is safe for concurrent use.
type Client struct {
	// Refuse reports whether no sink may have an address, whatever its name; nil: any address is allowed.
	Refuse func(netip.Addr) bool
	// AllowHosts are exempt from Refuse: hosts as in the URIs of sinks, in lower case, without a trailing dot.
	AllowHosts []string
	// Proxy returns the proxy for a request; default http.ProxyFromEnvironment. Refuse does not apply to proxies.
	Proxy  func(*http.Request) (*url.URL, error)
	Tokens *Tokens // for targets with an audience

	mu        sync.Mutex // guards what follows
	clients   map[clientKey]*pooledClient
	lastSweep time.Time
}

// pooledClient is a client with its connections. It is dropped when no target has needed it for long: each text of CACerts
// that an object ever had would stay in memory otherwise.
type pooledClient struct {
	client *http.Client
	used   time.Time
}

// clientKey is what requests must have in common to share connections.
type clientKey struct {
	caCerts [sha256.Size]byte // hash
	proxy   string
	guarded bool // connections with a checked address are never shared with unchecked ones
}

// Post makes one request. It returns nil if the sink answered 2xx, otherwise an [*Error].
func (c *Client) Post(ctx context.Context, target Target, payload Payload) error {
	_, err := c.post(ctx, target, payload)
	return err
}

// post also returns the status of the answer; 0 without one.
func (c *Client) post(ctx context.Context, target Target, payload Payload) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URI, payload.reader())
	if err != nil {
		return 0, &Error{Err: errors.New("the sink's address is not a URL"), permanent: true}
	}
	maps.Copy(request.Header, payload.Header)
	if target.Audience != "" {
		if err := c.authorize(request, target.Audience); err != nil {
			return 0, err
		}
	}
	client, err := c.client(target.CACerts, request)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if errors.Is(err, errLocal) {
		return 0, &Error{Err: errLocal, permanent: true, reason: reports.ReasonForbidden}
	}
	if err != nil {
		return 0, &Error{Err: WithoutAddress(err)}
	}
	err = readAnswer(response)
	_ = response.Body.Close()
	return response.StatusCode, err
}

// readAnswer returns the error for an answer, and reads enough of the body to make the connection reusable.
func readAnswer(response *http.Response) error {
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		_, _ = io.CopyN(io.Discard, response.Body, maxDrain) // the body of a success has no meaning
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxDrain)) // a part is good enough
	failure := &Error{Status: response.StatusCode, Answer: sanitize(body)}
	if failure.Temporary() {
		failure.After = retryAfter(response.Header.Get("Retry-After"), time.Now())
	}
	return failure
}

// retryAfter parses a Retry-After header, which holds seconds or a date. It returns 0 if the header is missing or invalid.
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

// authorize adds the token for an audience. A missing token is a temporary error: its file may still appear.
func (c *Client) authorize(request *http.Request, audience string) error {
	tokens := c.Tokens
	if tokens == nil {
		tokens = &Tokens{}
	}
	token, err := tokens.Token(audience)
	if err != nil {
		return &Error{Err: err, reason: reports.ReasonToken}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// client returns the client for a request, with caCerts as additional roots.
func (c *Client) client(caCerts string, request *http.Request) (*http.Client, error) {
	findProxy := c.Proxy
	if findProxy == nil {
		findProxy = http.ProxyFromEnvironment
	}
	proxy, err := findProxy(request)
	if err != nil { // its text contains the address
		return nil, &Error{Err: errors.New("the proxy's address is not a URL")}
	}
	key := clientKey{caCerts: sha256.Sum256([]byte(caCerts)), guarded: c.guarded(request, proxy)}
	if proxy != nil {
		key.proxy = proxy.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(time.Now())
	if pooled, ok := c.clients[key]; ok {
		pooled.used = time.Now()
		return pooled.client, nil
	}
	transport, err := c.transport(caCerts, proxy, key.guarded)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.clients == nil {
		c.clients = map[clientKey]*pooledClient{}
	}
	c.clients[key] = &pooledClient{client, time.Now()}
	return client, nil
}

// sweep drops the clients that were not used for long. The lock must be held.
func (c *Client) sweep(now time.Time) {
	if now.Sub(c.lastSweep) < idleClientTimeout {
		return
	}
	c.lastSweep = now
	for key, pooled := range c.clients {
		if now.Sub(pooled.used) > idleClientTimeout {
			pooled.client.CloseIdleConnections() // a request under way keeps its own
			delete(c.clients, key)
		}
	}
}

func (c *Client) transport(caCerts string, proxy *url.URL, guarded bool) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxy)
	if guarded {
		transport.DialContext = c.dialer().DialContext
	}
	transport.MaxIdleConns = 0 // bounded per host
	transport.MaxIdleConnsPerHost = maxIdlePerHost
	transport.IdleConnTimeout = idleTimeout
	if caCerts == "" {
		return transport, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, &Error{Err: fmt.Errorf("reading the system's certificates: %w", err), permanent: true}
	}
	if !roots.AppendCertsFromPEM([]byte(caCerts)) {
		return nil, &Error{Err: errors.New("the sink's CACerts hold no certificate"), permanent: true, reason: reports.ReasonTLS}
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return transport, nil
}
