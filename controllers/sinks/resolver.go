// Package sinks finds the addresses of the sinks that MandrillWebhooks name, and watches the sinks so that a change of an
// address reaches the objects that name it.
package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Sinks are watched. A sink of a kind that cannot be watched is looked at again: soon while it has no address, and now
// and then to see whether its address changed.
const (
	retry           = 10 * time.Second
	forbiddenRetry  = time.Minute
	recheckInterval = time.Minute
)

// Options configures a [Resolver]. Client and Names are required.
type Options struct {
	Client              client.Client
	Names               Names
	AllowCrossNamespace bool     // sinks in another namespace than their object's
	AllowHosts          []string // hosts to allow although they are local
	Audiences           []string // for which the shared receiver has OIDC tokens
}

// Resolver finds the addresses of sinks, and refuses sinks that the installation does not allow.
type Resolver struct {
	options Options
	watches *Watches
}

// New returns a resolver that has the kinds of sinks watched.
func New(options Options, watches *Watches) *Resolver { return &Resolver{options, watches} }

// Sink is a resolved sink.
type Sink struct {
	URI, CACerts, Audience string
	// AppProtocol is that of the port of a Service, if routes have it.
	AppProtocol string
	// Recheck is how soon to resolve the sink again, zero if a change of its address arrives by a watch.
	Recheck time.Duration
}

// Route is the sink as routes have it.
func (s Sink) Route() routes.Sink {
	return routes.Sink{URI: s.URI, CACerts: s.CACerts, Audience: s.Audience, AppProtocol: s.AppProtocol}
}

// DeadLetter returns the dead letter sink that an object names, nil without one.
func DeadLetter(webhook *v1alpha1.MandrillWebhook) *v1alpha1.Destination {
	if webhook.Spec.Delivery == nil {
		return nil
	}
	return webhook.Spec.Delivery.DeadLetterSink
}

// Resolve finds the address of a sink that an object names.
func (r *Resolver) Resolve(ctx context.Context, webhook *v1alpha1.MandrillWebhook, spec v1alpha1.Destination) (*Sink, error) {
	found := Sink{URI: spec.URI}
	if spec.Ref != nil {
		var err error
		if found, err = r.address(ctx, webhook.Namespace, *spec.Ref); err != nil {
			return nil, err
		}
		if found.URI, err = join(found.URI, spec.URI); err != nil {
			return nil, err
		}
	} else if err := r.checkNamespace(ctx, webhook, spec.URI); err != nil {
		return nil, err
	}
	resolved, err := r.complete(found, webhook.Spec.Receiver == v1alpha1.ReceiverSidecar, spec)
	return resolved, controllers.LookAgain(err, found.Recheck)
}

// complete adds to the address of a sink what the object says, and refuses sinks that the installation does not allow.
func (r *Resolver) complete(found Sink, sidecar bool, spec v1alpha1.Destination) (*Sink, error) {
	if spec.CACerts != "" {
		found.CACerts = spec.CACerts
	}
	if err := r.checkHost(found.URI, sidecar); err != nil {
		return nil, err
	}
	if found.CACerts != "" && !routes.HoldsCertificate(found.CACerts) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkCertificateInvalid, errors.New("the sink's CACerts hold no certificate: put PEM there, or leave it out"))
	}
	if spec.Audience != "" {
		found.Audience = spec.Audience
	}
	// The tokens of the shared receiver are valid for every user's events, so the installation says for which audiences.
	if found.Audience != "" && !sidecar && !slices.Contains(r.options.Audiences, found.Audience) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkUnsupported,
			fmt.Errorf("the sink asks for an OIDC token for the audience %q: have the receiver run with --oidc-token and the operator with --sink-audiences for it, or name a sink that asks for none", found.Audience))
	}
	return &found, nil
}

// checkHost refuses addresses of the receiver's own machine and of the cloud's metadata service: what listens there
// trusts everybody who can reach it, and anybody who can create an object would reach it through the receiver. The own
// machine of a sidecar is the consumer's, and allowed.
func (r *Resolver) checkHost(uri string, sidecar bool) error {
	parsed, err := url.Parse(uri)
	if err != nil {
		return controllers.Stalled(v1alpha1.ReasonSinkNotAddressable, errors.New("the sink's address is no URL"))
	}
	host := strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".")
	if slices.Contains(r.options.AllowHosts, host) {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if sidecar && (host == "localhost" || err == nil && ip.Unmap().IsLoopback()) {
		return nil
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "metadata.google.internal"
	if err == nil {
		local = routes.LocalAddress(ip)
	} else if looseIPv4.MatchString(host) {
		local = true
	}
	if local {
		return controllers.Stalled(v1alpha1.ReasonSinkNotAllowed,
			fmt.Errorf("the sink's host %s is loopback, link-local or a metadata service: name another sink, or have the operator run with --allow-sink-hosts=%s", host, host))
	}
	return nil
}

// looseIPv4 matches hosts that some parsers read as an IPv4 address and others as a name, such as 127.1 and 0x7f000001.
var looseIPv4 = regexp.MustCompile(`^(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))*$`)
