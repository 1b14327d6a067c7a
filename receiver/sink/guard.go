package sink

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// errLocal refuses an address. It does not contain it: the author of a route must not learn what names resolve to in the
// cluster.
var errLocal = errors.New("the sink's name resolves to this machine, a link-local address or a metadata service; " +
	"run the receiver with --allow-sink-hosts to allow it")

// As in http.DefaultTransport.
const (
	dialTimeout   = 30 * time.Second
	dialKeepAlive = 30 * time.Second
)

// guarded reports whether the address of a request's sink must be checked. The administrator chose the proxy, so its
// address is not checked.
func (c *Client) guarded(request *http.Request, proxy *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(request.URL.Hostname()), ".")
	return c.Refuse != nil && proxy == nil && !slices.Contains(c.AllowHosts, host)
}

// dialer returns a dialer that connects to no refused address.
func (c *Client) dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive, Control: routes.Guard(c.Refuse, errLocal)}
}
