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
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// probeTimeout bounds one probe.
	probeTimeout = 10 * time.Second
	// How soon to probe again. A watch brings the receiver a route in milliseconds; a receiver that does not get it, or
	// does not run, is probed less and less often: the next pause is as long as the wait so far.
	firstProbeRetry = 100 * time.Millisecond
	lastProbeRetry  = 30 * time.Second
)

// prober asks receivers whether they serve a webhook's URL, as Mandrill does before it registers the URL.
type prober struct {
	urls         webhookURLs
	receiverURL  string   // of the shared receiver, empty if it is reached at the public URL
	allowedHosts []string // to probe although they are local
	routesSecret types.NamespacedName
	client       *http.Client // for hosts that the installation names
	guarded      *http.Client // for hosts that users name
	now          func() time.Time
}

func newProber(options Options, urls webhookURLs) *prober {
	return &prober{
		urls: urls, receiverURL: options.ReceiverURL, allowedHosts: options.AllowSinkHosts,
		routesSecret: options.RoutesSecret, client: options.HTTPClient, guarded: guarded(options.HTTPClient), now: options.Now,
	}
}

// probeUntilServed probes the receiver once and returns Waiting, so that the step runs again, as long as the URL is not
// served with the key, if there is one. The pause grows with the time that the step's condition has been False.
func (p *prober) probeUntilServed(ctx context.Context, run *state, condition, key string) error {
	err := p.probe(ctx, run.url, key, isSidecar(run.webhook))
	if err == nil {
		return nil
	}
	retry := firstProbeRetry
	if since := meta.FindStatusCondition(run.webhook.Status.Conditions, condition); since != nil && since.Status == metav1.ConditionFalse {
		retry = min(max(p.now().Sub(since.LastTransitionTime.Time), firstProbeRetry), lastProbeRetry)
	}
	first := ""
	if lacksBuffer(run.webhook, err) {
		first = "delivery.mode Buffered needs a receiver with a buffer: run it with --buffer, or leave delivery.mode out or write Direct; if it has one, "
	}
	if isSidecar(run.webhook) {
		return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
			fmt.Errorf("the sidecar does not serve %s yet (%w): %scheck that its pod mounts the Secret %s, that it runs the receiver with --config on the Secret's %s, and that the URL leads there from here too",
				p.urls.shown(run.webhook), err, first, sidecarSecretName(run.webhook), routes.Key))
	}
	return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
		fmt.Errorf("the receiver does not serve %s yet (%w): %scheck that it runs, that it reads the Secret %s, and that the operator reaches it, by --receiver-url or at the URL itself",
			p.urls.shown(run.webhook), err, first, p.routesSecret))
}

// probe requests a registered URL as Mandrill will: without a key by HEAD, with a key by an empty batch signed with
// it, which is answered with 200 only if the receiver has the same URL and key.
func (p *prober) probe(ctx context.Context, registered, key string, sidecar bool) error {
	request, err := p.request(ctx, registered, key, sidecar)
	if err != nil {
		return err
	}
	response, err := p.probeClient(request, sidecar).Do(request)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) { // its text holds the URL
			err = wrapped.Err
		}
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only the status counts
	_, _ = io.CopyN(io.Discard, response.Body, 1<<10)
	if response.StatusCode != http.StatusOK {
		return &statusError{request.Method, response.StatusCode}
	}
	return nil
}

// request makes the request of a probe. Its errors do not quote the URL, which may hold secrets.
func (p *prober) request(ctx context.Context, registered, key string, sidecar bool) (*http.Request, error) {
	target, err := url.Parse(registered)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	host, user := target.Host, target.User
	if p.receiverURL != "" && !sidecar {
		receiver, err := url.Parse(p.receiverURL)
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

// statusError is an answer other than 200.
type statusError struct {
	method string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("it answered %s with status %d", e.method, e.status)
}

// lacksBuffer reports whether a probe failed as it does at a receiver that should buffer and has no buffer. A proxy
// without a receiver behind it answers the same. Only HEAD is conclusive: a batch gets 503 for other reasons too.
func lacksBuffer(webhook *v1alpha1.MandrillWebhook, err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.method == http.MethodHead && status.status == http.StatusServiceUnavailable &&
		webhook.Spec.Delivery != nil && webhook.Spec.Delivery.Mode == v1alpha1.ModeBuffered
}

// probeClient returns the client for a request: the guarded one, unless the installation itself names the host. Behind
// a proxy the proxy decides what it connects to.
func (p *prober) probeClient(request *http.Request, sidecar bool) *http.Client {
	host := strings.TrimSuffix(strings.ToLower(request.URL.Hostname()), ".")
	public, err := url.Parse(p.urls.public)
	proxy, proxyErr := http.ProxyFromEnvironment(request)
	if p.receiverURL != "" && !sidecar || err == nil && public.Host == request.URL.Host || slices.Contains(p.allowedHosts, host) ||
		proxyErr == nil && proxy != nil {
		return p.client
	}
	return p.guarded
}

var errLocalAddress = errors.New("its host is loopback, link-local or a metadata service; the operator asks there only with --allow-sink-hosts")

// guarded returns a client that does not connect to the operator's own machine, link-local addresses and metadata
// services: a user who names a URL must not make the operator send requests there.
func guarded(client *http.Client) *http.Client {
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
