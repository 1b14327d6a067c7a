package mandrillwebhook

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

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Sinks are watched. A sink of a kind that cannot be watched is looked at again: soon while it has no address, and now
// and then to see whether its address changed.
const (
	sinkRetry    = 10 * time.Second
	sinkInterval = time.Minute
)

var serviceKind = schema.GroupKind{Kind: "Service"}

func isService(ref v1alpha1.Reference) bool { return ref.APIVersion == "v1" && ref.Kind == "Service" }

// destination is a resolved sink.
type destination struct {
	uri, caCerts, audience string
	unwatched              bool // a change of the address does not arrive by a watch
}

// route is the destination as routes have it.
func (d destination) route() routes.Sink {
	return routes.Sink{URI: d.uri, CACerts: d.caCerts, Audience: d.audience}
}

// sink finds the addresses of the sink and of the dead letter sink.
func (r *Reconciler) sink(ctx context.Context, run *state) error {
	status := &run.webhook.Status
	status.SinkURI, status.SinkCACerts, status.SinkAudience = "", "", ""
	found, err := r.sinks.resolve(ctx, run.webhook, run.webhook.Spec.Sink)
	if err != nil {
		return err
	}
	status.SinkURI, status.SinkCACerts, status.SinkAudience = found.uri, found.caCerts, found.audience
	if spec := deadLetterSink(run.webhook); spec != nil {
		if run.deadLetter, err = r.sinks.resolve(ctx, run.webhook, *spec); err != nil {
			return fmt.Errorf("delivery.deadLetterSink: %w", err)
		}
	}
	run.sink = found
	return nil
}

func deadLetterSink(webhook *v1alpha1.MandrillWebhook) *v1alpha1.Destination {
	if webhook.Spec.Delivery == nil {
		return nil
	}
	return webhook.Spec.Delivery.DeadLetterSink
}

// sinkResolver finds the addresses of sinks, and refuses sinks that the installation does not allow.
type sinkResolver struct {
	client              client.Client
	watches             *sinkWatches
	clusterDomain       string
	allowCrossNamespace bool
	allowedHosts        []string // although they are local
	audiences           []string // for which the shared receiver has OIDC tokens
}

func newSinkResolver(options Options, watches *sinkWatches) *sinkResolver {
	return &sinkResolver{
		client: options.Client, watches: watches, clusterDomain: options.ClusterDomain,
		allowCrossNamespace: options.AllowCrossNamespaceSinks, allowedHosts: options.AllowSinkHosts, audiences: options.SinkAudiences,
	}
}

// resolve finds the address of a sink that an object names.
func (s *sinkResolver) resolve(ctx context.Context, webhook *v1alpha1.MandrillWebhook, spec v1alpha1.Destination) (*destination, error) {
	found := destination{uri: spec.URI}
	if spec.Ref != nil {
		var err error
		if found, err = s.address(ctx, webhook.Namespace, *spec.Ref); err != nil {
			return nil, err
		}
		if found.uri, err = join(found.uri, spec.URI); err != nil {
			return nil, err
		}
	}
	if spec.CACerts != "" {
		found.caCerts = spec.CACerts
	}
	if err := s.checkHost(found.uri, isSidecar(webhook)); err != nil {
		return nil, err
	}
	if found.caCerts != "" && !routes.HoldsCertificate(found.caCerts) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkCertificateInvalid, errors.New("the sink's CACerts hold no certificate: put PEM there, or leave it out"))
	}
	if spec.Audience != "" {
		found.audience = spec.Audience
	}
	// The tokens of the shared receiver are valid for every user's events, so the installation says for which audiences.
	if found.audience != "" && !isSidecar(webhook) && !slices.Contains(s.audiences, found.audience) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkUnsupported,
			fmt.Errorf("the sink asks for an OIDC token for the audience %q: have the receiver run with --oidc-token and the operator with --sink-audiences for it, or name a sink that asks for none", found.audience))
	}
	return &found, nil
}

// checkHost refuses addresses of the receiver's own machine and of the cloud's metadata service: what listens there
// trusts everybody who can reach it, and anybody who can create an object would reach it through the receiver. The own
// machine of a sidecar is the consumer's, and allowed.
func (s *sinkResolver) checkHost(uri string, sidecar bool) error {
	parsed, err := url.Parse(uri)
	if err != nil {
		return controllers.Stalled(v1alpha1.ReasonSinkNotAddressable, errors.New("the sink's address is no URL"))
	}
	host := strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".")
	if slices.Contains(s.allowedHosts, host) {
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
