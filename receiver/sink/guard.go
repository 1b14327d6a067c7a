package sink

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errLocal refuses an address. It does not say which: who wrote the sink's name must not learn where it leads.
var errLocal = errors.New("the sink's name leads to this machine, to a link-local address or to a metadata service; run the receiver with --allow-sink-hosts to allow it")

// The same as those of http.DefaultTransport.
const (
	dialTimeout   = 30 * time.Second
	dialKeepAlive = 30 * time.Second
)

// guarded tells whether the addresses of a request's sink must be checked. Those of a proxy are not, which whoever
// runs the receiver chose.
func (c *Client) guarded(request *http.Request, proxy *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(request.URL.Hostname()), ".")
	return c.Refuse != nil && proxy == nil && !slices.Contains(c.AllowHosts, host)
}

// dialer returns one that connects to no refused address. It looks at the address of the very connection that it is
// about to make, so that no name can be one thing when it is checked and another when it is used.
func (c *Client) dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: dialTimeout, KeepAlive: dialKeepAlive,
		Control: func(_, address string, _ syscall.RawConn) error {
			if to, err := netip.ParseAddrPort(address); err != nil || c.Refuse(to.Addr()) {
				return errLocal
			}
			return nil
		},
	}
}
