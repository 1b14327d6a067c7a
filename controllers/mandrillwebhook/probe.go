package mandrillwebhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// probe asks the receiver for a registered URL as Mandrill will: without a key by HEAD, with one by an empty
// batch signed with it, which is answered with 200 only when the receiver has the same URL and key.
func (r *Reconciler) probe(ctx context.Context, run *state, key string) error {
	registered := run.url
	target, err := url.Parse(registered)
	if err != nil {
		return errors.New("the URL cannot be parsed")
	}
	host, user := target.Host, target.User
	if r.ReceiverURL != "" && !isSidecar(run.webhook) {
		receiver, err := url.Parse(r.ReceiverURL)
		if err != nil {
			return errors.New("the receiver's URL cannot be parsed")
		}
		target.Scheme, target.Host = receiver.Scheme, receiver.Host
	}
	method, body := http.MethodHead, []byte(nil)
	if key != "" {
		method, body = http.MethodPost, []byte(mandrill.EventsField+"=%5B%5D")
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be requested")
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
	response, err := r.askerOf(request, run).Do(request)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) { // its text holds the URL
			err = wrapped.Err
		}
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only the status counts
	_, _ = io.CopyN(io.Discard, response.Body, 1<<10)
	if response.StatusCode != http.StatusOK {
		return &statusError{method, response.StatusCode}
	}
	return nil
}

// statusError is an answer other than 200.
type statusError struct {
	method string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("it answered %s with status %d", e.method, e.status)
}

// lacksBuffer tells whether an answer is that of a receiver which is to buffer and has no buffer. It may also be a
// proxy's, which found nobody to ask. A batch gets 503 for other reasons too, so only the answer to HEAD tells.
func lacksBuffer(webhook *v1alpha1.MandrillWebhook, answer error) bool {
	var status *statusError
	return errors.As(answer, &status) && status.method == http.MethodHead && status.status == http.StatusServiceUnavailable &&
		webhook.Spec.Delivery != nil && webhook.Spec.Delivery.Mode == v1alpha1.ModeBuffered
}

// askerOf returns the client to ask with: one that does not connect to the operator's own machine, link-local addresses
// and metadata services, unless the installation itself has named the host. Behind a proxy it is the proxy that must
// not lead there.
func (r *Reconciler) askerOf(request *http.Request, run *state) *http.Client {
	host := strings.TrimSuffix(strings.ToLower(request.URL.Hostname()), ".")
	public, err := url.Parse(r.PublicURL)
	proxy, proxyErr := http.ProxyFromEnvironment(request)
	if r.ReceiverURL != "" && !isSidecar(run.webhook) || err == nil && public.Host == request.URL.Host || slices.Contains(r.AllowSinkHosts, host) ||
		proxyErr == nil && proxy != nil {
		return r.HTTPClient
	}
	return r.guarded
}

var errLocalAddress = errors.New("its host is loopback, link-local or a metadata service; the operator asks there only with --allow-sink-hosts")

// guard returns a client that asks for URLs of users.
func guard(client *http.Client) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	dialer := &net.Dialer{Timeout: probeTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		if resolved, err := netip.ParseAddrPort(address); err != nil || routes.LocalAddress(resolved.Addr()) {
			return errLocalAddress
		}
		return nil
	}}
	transport.DialContext = dialer.DialContext
	guarded := *client
	guarded.Transport = transport
	return &guarded
}
