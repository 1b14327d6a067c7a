// Package certificates knows when the certificates expire that public URLs present.
package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const (
	// interval is how often the installation's public URL is asked, and dialTimeout bounds that.
	interval    = time.Hour
	dialTimeout = 10 * time.Second
	// maxHosts bounds the hosts that are remembered; users name them. What was seen longer ago than memory does not count.
	maxHosts = 10000
	memory   = 24 * time.Hour
)

// Expiries are when the certificates of hosts expire, as they were last seen.
type Expiries struct {
	mu    sync.Mutex
	hosts map[string]expiry
}

type expiry struct{ at, seen time.Time }

// Observe records the certificate of a connection to a URL's host. The error of a connection has the certificate if it was refused.
func (e *Expiries) Observe(host string, state *tls.ConnectionState, err error) {
	var at time.Time
	refused := new(tls.CertificateVerificationError)
	switch {
	case state != nil && len(state.PeerCertificates) > 0:
		at = state.PeerCertificates[0].NotAfter
	case errors.As(err, &refused) && len(refused.UnverifiedCertificates) > 0:
		at = refused.UnverifiedCertificates[0].NotAfter
	default:
		return
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hosts == nil {
		e.hosts = map[string]expiry{}
	}
	for known := range e.hosts {
		if len(e.hosts) < maxHosts {
			break
		}
		delete(e.hosts, known) // any: hosts in use are seen again within minutes
	}
	e.hosts[host] = expiry{at, now}
}

// of returns when the certificate of a URL's host expires.
func (e *Expiries) of(address string) (host string, at time.Time) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "https" {
		return "", time.Time{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.hosts[parsed.Host]
	if time.Since(known.seen) > memory {
		return parsed.Host, time.Time{}
	}
	return parsed.Host, known.at
}

// Watch asks for the certificate of the installation's public URL, because the operator may reach the receiver elsewhere. The
// manager runs it on the leader only.
type Watch struct {
	Expiries  *Expiries
	PublicURL string
}

// Start asks again and again until the context ends.
func (w Watch) Start(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		w.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// ask makes a TLS connection and sends nothing. Its certificate need not be one that the operator trusts.
func (w Watch) ask(ctx context.Context) {
	parsed, err := url.Parse(w.PublicURL)
	if err != nil || parsed.Scheme != "https" {
		return
	}
	port := parsed.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: parsed.Hostname(), InsecureSkipVerify: true}} //nolint:gosec // only its date is read
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(parsed.Hostname(), port))
	if err != nil {
		return // probes say what is wrong
	}
	defer connection.Close() //nolint:errcheck // nothing was sent
	state := connection.(*tls.Conn).ConnectionState()
	w.Expiries.Observe(parsed.Host, &state, nil)
}

var expiryDesc = prometheus.NewDesc("mandrill_operator_certificate_expiry_timestamp_seconds",
	"When the certificate expires that a webhook's URL presents to the operator; without a webhook, that of the installation's public URL.",
	[]string{"webhook"}, nil)

// Collector collects what is known of the public URL, and of the URLs of objects at other hosts.
type Collector struct {
	Expiries  *Expiries
	PublicURL string
	Objects   interface {
		All() []*v1alpha1.MandrillWebhook
	}
	Handles func(*v1alpha1.MandrillWebhook) bool
}

// Describe implements [prometheus.Collector].
func (c Collector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- expiryDesc }

// Collect implements [prometheus.Collector].
func (c Collector) Collect(metrics chan<- prometheus.Metric) {
	public, at := c.Expiries.of(c.PublicURL)
	if !at.IsZero() {
		metrics <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(at.Unix()), "")
	}
	for _, object := range c.Objects.All() {
		host, at := c.Expiries.of(object.Status.URL)
		if c.Handles(object) && !at.IsZero() && host != public {
			metrics <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(at.Unix()), object.Namespace+"/"+object.Name)
		}
	}
}
