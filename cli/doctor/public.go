package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/cli/post"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// errNoKey is why nothing is signed before the webhook is registered.
var errNoKey = errors.New("it needs the signing key, which Mandrill gives at the registration: repair what fails above first")

var errNoURL = errors.New("the public URL is not known")

func (d *doctor) target() (*url.URL, error) {
	if d.url == "" {
		return nil, d.noURL
	}
	parsed, err := url.Parse(d.url)
	if err != nil {
		return nil, errors.New("the public URL cannot be parsed")
	}
	return parsed, nil
}

// dns resolves the host.
func (d *doctor) dns(ctx context.Context) []Finding {
	target, err := d.target()
	if err != nil {
		return skip(err)
	}
	host := target.Hostname()
	if address, err := netip.ParseAddr(host); err == nil {
		return literal(address.Unmap())
	}
	addresses, err := d.env.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return finding(Fail, host+" cannot be resolved: "+cause(err), "Add a DNS record for the host that leads to the ingress.")
	}
	var local, all []string
	for _, address := range addresses {
		all = append(all, address.Unmap().String())
		if isLocal(address) {
			local = append(local, address.Unmap().String())
		}
	}
	if len(local) > 0 {
		return finding(Warn, host+" has the address "+strings.Join(local, ", ")+", which Mandrill cannot reach",
			"Check the name from the Internet. If it is another address there, run doctor --public from there.")
	}
	return ok("%s has the address %s", host, strings.Join(all, ", "))
}

// isLocal reports whether an address means another machine to Mandrill, or none.
func isLocal(address netip.Addr) bool {
	return address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified()
}

// literal is for a URL with an address instead of a name.
func literal(address netip.Addr) []Finding {
	if isLocal(address) {
		return finding(Warn, fmt.Sprintf("the host of the URL is %s, an address that Mandrill cannot reach", address),
			"Give the URL a host that leads to the ingress from the Internet.")
	}
	return ok("the host of the URL is the address %s: there is no name to resolve", address)
}

// soon is when a certificate that is renewed automatically would have been renewed.
const soon = 14 * 24 * time.Hour

// tls checks the certificate as Mandrill does.
func (d *doctor) tls(ctx context.Context) []Finding {
	target, err := d.target()
	if err != nil {
		return skip(err)
	}
	if target.Scheme != "https" {
		return finding(Warn, "the URL is http: events travel in the clear", "Use https, with a certificate that the public authorities have issued.")
	}
	port := target.Port()
	if port == "" {
		port = "443"
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: target.Hostname()}
	if transport, isTransport := d.env.Client.Transport.(*http.Transport); isTransport && transport.TLSClientConfig != nil {
		config.RootCAs = transport.TLSClientConfig.RootCAs
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Resolver: d.env.Resolver}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(target.Hostname(), port))
	if err != nil {
		return certificateFinding(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	left := chain[0].NotAfter.Sub(d.env.Now())
	text := fmt.Sprintf("the certificate is valid for %d more days, issued by %s", int(left.Hours()/24), chain[0].Issuer.CommonName)
	if left < soon {
		return finding(Warn, text, "Renew it, or look why it was not renewed: Mandrill stops delivering when it expires.")
	}
	return ok("%s", text)
}

func certificateFinding(err error) []Finding {
	invalid, name, authority := new(x509.CertificateInvalidError), new(x509.HostnameError), new(x509.UnknownAuthorityError)
	switch {
	case errors.As(err, invalid) && invalid.Reason == x509.Expired:
		return finding(Fail, "the certificate has expired, or is not valid yet", "Renew it.")
	case errors.As(err, name):
		return finding(Fail, "the certificate is for another host", "Give the ingress a certificate for the host of the URL.")
	case errors.As(err, authority):
		return finding(Fail, "the certificate's authority is not known, or intermediate certificates are missing",
			"Serve the whole chain, and use an authority that browsers accept: Mandrill accepts no other.")
	}
	return finding(Fail, "no TLS connection: "+cause(err), "Check that the ingress listens, and that no firewall is in between.")
}

// cause is the last part of a network error, without the addresses that it repeats.
func cause(err error) string {
	var operation *net.OpError
	var resolution *net.DNSError
	var request *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &resolution):
		return resolution.Err
	case errors.As(err, &operation):
		return operation.Err.Error()
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}

// head asks as Mandrill does before it registers a URL.
func (d *doctor) head(ctx context.Context) []Finding {
	if _, err := d.target(); err != nil {
		return skip(err)
	}
	nonce := rand.Text()
	answer, err := post.Head(ctx, d.env.Client, d.url, d.key, nonce)
	if d.noAnswer = err != nil; d.noAnswer {
		return finding(Fail, "no answer at the public URL: "+cause(err), "Check DNS, firewall, load balancer and ingress; Mandrill must reach the URL from the Internet.")
	}
	switch object := answer.Header.Get(routes.ObjectHeader); {
	case answer.Status != http.StatusOK:
		return d.refused("HEAD", answer)
	case d.keyMissing != nil:
		return ok("HEAD is answered with 200; by whom is unknown without the signing key")
	case object == "":
		return finding(Warn, "HEAD is answered with 200, but not as a receiver of this version with the webhook's key does",
			"A proxy or a cache answers HEAD, a proxy removes the header "+routes.NonceHeader+", or the receiver is older. The next line says what answers batches.")
	case object != routes.ObjectID(string(d.webhook.UID)):
		return anotherObject()
	case answer.Header.Get(routes.NonceHeader) != nonce:
		return finding(Warn, "HEAD is answered with 200 by a cache, with an earlier answer of the receiver", "Exempt the path from caching.")
	}
	return ok("HEAD is answered with 200 by the receiver of this webhook")
}

func anotherObject() []Finding {
	return finding(Fail, "the receiver of another object answers, such as one of another cluster or installation", "Let only one of them have the URL.")
}

// signed sends an empty batch with the webhook's key: only its receiver knows the object.
func (d *doctor) signed(ctx context.Context) []Finding {
	if d.keyMissing != nil {
		return skip(d.keyMissing)
	}
	answer, err := post.Batch(ctx, d.env.Client, d.url, d.key, []byte("[]"))
	d.unreached = err != nil || answer.Status != http.StatusOK
	switch {
	case err != nil && d.noAnswer:
		return finding(Fail, "no answer to a POST either: "+cause(err), "")
	case err != nil:
		return finding(Fail, "no answer to a POST: "+cause(err), "HEAD and POST may go different ways: look at the rules of the ingress and of firewalls.")
	case d.unreached:
		return d.refused("a signed empty batch", answer)
	}
	want, got := routes.ObjectID(string(d.webhook.UID)), answer.Header.Get(routes.ObjectHeader)
	switch got {
	case want:
		return ok("a signed empty batch is answered by the receiver of this webhook")
	case "":
		return finding(Fail, "something answers 200 that is not a receiver",
			"The host or a rule of the ingress leads elsewhere, so batches would be lost: let the path lead to the Service of the receivers. "+
				"A proxy that removes the header "+routes.ObjectHeader+" looks the same.")
	}
	return anotherObject()
}

// sizes of the batches, of which the last is that of a mail with a large attachment.
var sizes = []int{5 << 20, 60 << 20}

// bodies sends batches that the receiver verifies and drops.
func (d *doctor) bodies(ctx context.Context) (findings []Finding) {
	switch {
	case d.skipBody:
		return skip(errors.New("--skip-large is given"))
	case d.keyMissing != nil:
		return skip(d.keyMissing)
	case d.unreached:
		return skip(errors.New("the small batch does not arrive either"))
	}
	for _, size := range sizes {
		found := d.body(ctx, size)
		findings = append(findings, found...)
		if found[0].Level != OK {
			break // a larger one fails as well
		}
	}
	return findings
}

func (d *doctor) body(ctx context.Context, size int) []Finding {
	bounded, cancel := context.WithTimeout(ctx, largeTimeout)
	defer cancel()
	name := fmt.Sprintf("a signed batch of %d MB", size>>20)
	begin := d.env.Now()
	answer, err := post.Batch(bounded, d.env.Client, d.url, d.key, mandrill.ProbeBatch(size))
	took := d.env.Now().Sub(begin).Round(100 * time.Millisecond)
	switch {
	case err != nil && bounded.Err() != nil:
		return finding(Fail, fmt.Sprintf("%s gets no answer within %s", name, largeTimeout), "Raise the time-outs of the ingress, or look where bodies are slow.")
	case err != nil:
		return finding(Fail, fmt.Sprintf("%s ends without an answer after %s: %s", name, took, cause(err)),
			"A proxy ends requests with large bodies: raise its limit of the body and its time-outs.")
	case answer.Status == http.StatusOK && took > mandrillPatience:
		return finding(Warn, fmt.Sprintf("%s takes %s", name, took), "Mandrill may not wait so long. Is this machine's connection slow, or the ingress?")
	case answer.Status == http.StatusOK:
		return ok("%s arrives in %s", name, took)
	}
	return d.refused(name, answer)
}

// mandrillPatience is how long Mandrill waits for an answer, as far as is known.
const mandrillPatience = 30 * time.Second
