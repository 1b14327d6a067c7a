package sink

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink/http1"
)

// idleEndpointTimeout is how long a sink's URI, its CACerts and the connections are kept without a request: each text that an object ever
// had would stay in memory otherwise.
const idleEndpointTimeout = 10 * time.Minute

// transport makes requests. There is one with net/http, and a leaner one for sinks without TLS and proxy. Their answers and classes of
// errors are the same.
type transport interface {
	// post makes a request to an endpoint of this transport. Errors have the cause in their chain.
	post(ctx context.Context, to *endpoint, timeout time.Duration, token string, payload Payload) (http1.Answer, error)
	closeIdle()
}

// pooledTransport is a transport with its connections. Endpoints share it.
type pooledTransport struct {
	transport transport
	used      time.Time // guarded by the client's lock
}

// transportKey is what requests must have in common to share connections.
type transportKey struct {
	caCerts [sha256.Size]byte // hash
	proxy   string
	http2   bool   // without TLS, by prior knowledge
	guarded bool   // connections with a checked address are never shared with unchecked ones
	address string // of the lean transport, which has one; empty: net/http
}

// endpoint is what is known of a sink after its URI was parsed.
type endpoint struct {
	url    *url.URL
	head   []byte // of requests, for the lean transport
	pooled *pooledTransport
	used   atomic.Int64 // seconds since 1970
}

type endpointKey struct {
	uri, caCerts string
	http2        bool
}

// endpoint returns the endpoint of a target, which others with the same URI, CACerts and protocol share.
func (c *Client) endpoint(target Target) (*endpoint, error) {
	key, now := endpointKey{target.URI, target.CACerts, target.HTTP2}, time.Now()
	c.mu.RLock()
	known, sweep := c.endpoints[key], now.Sub(c.lastSweep) >= idleEndpointTimeout
	c.mu.RUnlock()
	if known != nil && !sweep {
		known.used.Store(now.Unix())
		return known, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(now)
	if known = c.endpoints[key]; known == nil {
		var err error
		if known, err = c.newEndpoint(target, now); err != nil {
			return nil, err
		}
		if c.endpoints == nil {
			c.endpoints = map[endpointKey]*endpoint{}
		}
		c.endpoints[key] = known
	}
	known.used.Store(now.Unix())
	return known, nil
}

// newEndpoint parses the URI of a target and finds its transport. The lock must be held.
func (c *Client) newEndpoint(target Target, now time.Time) (*endpoint, error) {
	request, err := http.NewRequest(http.MethodPost, target.URI, nil) //nolint:noctx // it is not sent
	if err != nil {
		return nil, &Error{Err: errors.New("the sink's address is not a URL"), permanent: true}
	}
	findProxy := c.Proxy
	if findProxy == nil {
		findProxy = http.ProxyFromEnvironment
	}
	proxy, err := findProxy(request)
	if err != nil { // its text contains the address
		return nil, &Error{Err: errors.New("the proxy's address is not a URL")}
	}
	e := &endpoint{url: request.URL}
	key := transportKey{guarded: c.guarded(request, proxy)}
	key.http2 = target.HTTP2 && proxy == nil && request.URL.Scheme == "http" // proxies expect HTTP/1.1
	if proxy == nil && target.CACerts == "" && !key.http2 && !c.standard && leanMayServe(request.URL) {
		e.head, key.address = leanHead(request.URL), leanAddress(request.URL)
	} else {
		key.caCerts = sha256.Sum256([]byte(target.CACerts))
		if proxy != nil {
			key.proxy = proxy.String()
		}
	}
	if e.pooled = c.transports[key]; e.pooled == nil {
		e.pooled = &pooledTransport{used: now}
		if key.address != "" {
			e.pooled.transport = c.newLeanTransport(key)
		} else if e.pooled.transport, err = c.newStandardTransport(target, proxy, key); err != nil {
			return nil, err
		}
		if c.transports == nil {
			c.transports = map[transportKey]*pooledTransport{}
		}
		c.transports[key] = e.pooled
	}
	return e, nil
}

// sweep drops what was not used for long. The lock must be held.
func (c *Client) sweep(now time.Time) {
	if now.Sub(c.lastSweep) < idleEndpointTimeout {
		return
	}
	c.lastSweep = now
	for key, e := range c.endpoints {
		used := time.Unix(e.used.Load(), 0)
		if now.Sub(used) > idleEndpointTimeout {
			delete(c.endpoints, key)
		} else if used.After(e.pooled.used) {
			e.pooled.used = used
		}
	}
	for key, pooled := range c.transports {
		if now.Sub(pooled.used) > idleEndpointTimeout {
			pooled.transport.closeIdle() // a request under way keeps its own
			delete(c.transports, key)
		}
	}
}
