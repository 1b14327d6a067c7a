package sink

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// maxRetryAfter bounds Retry-After. It is below the interval at which Mandrill repeats a batch.
const maxRetryAfter = 10 * time.Minute

// Target is a sink and how to reach it.
type Target struct {
	URI      string
	CACerts  string        // PEM, trusted in addition to the system's
	Timeout  time.Duration // of one request
	Audience string        // of the OIDC token to send; empty: none
	HTTP2    bool          // speak HTTP/2 although there is no TLS to agree on it
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

	standard   bool         // never the lean transport: for tests
	mu         sync.RWMutex // guards what follows
	endpoints  map[endpointKey]*endpoint
	transports map[transportKey]*pooledTransport
	lastSweep  time.Time
}

// Post makes one request, and returns the status of the answer, 0 without one. The error is nil if it is 2xx, otherwise an [*Error].
func (c *Client) Post(ctx context.Context, target Target, payload Payload) (status int, err error) {
	endpoint, err := c.endpoint(target)
	if err != nil {
		return 0, err
	}
	var token string
	if target.Audience != "" {
		if token, err = c.token(target.Audience); err != nil {
			return 0, err
		}
	}
	answer, err := endpoint.pooled.transport.post(ctx, endpoint, target.Timeout, token, payload)
	switch {
	case errors.Is(err, errLocal):
		return 0, &Error{Err: errLocal, permanent: true, reason: reports.ReasonForbidden}
	case err != nil:
		return 0, &Error{Err: WithoutAddress(err)}
	case answer.Success():
		return answer.Status, nil
	}
	failure := &Error{Status: answer.Status, Answer: sanitize(answer.Body)}
	if failure.Temporary() {
		failure.After = retryAfter(answer.RetryAfter, time.Now())
	}
	return answer.Status, failure
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

// token returns the token for an audience. A missing token is a temporary error: its file may still appear.
func (c *Client) token(audience string) (string, error) {
	tokens := c.Tokens
	if tokens == nil {
		tokens = &Tokens{}
	}
	token, err := tokens.Token(audience)
	if err != nil {
		return "", &Error{Err: err, reason: reports.ReasonToken}
	}
	return token, nil
}
