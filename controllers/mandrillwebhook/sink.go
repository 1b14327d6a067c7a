package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Sinks are watched. What may not be watched is looked at again: soon while it has no address, and now and then to see
// whether that has changed.
const (
	sinkRetry    = 10 * time.Second
	sinkInterval = time.Minute
)

var serviceKind = schema.GroupKind{Kind: "Service"}

func isService(ref v1alpha1.Reference) bool { return ref.APIVersion == "v1" && ref.Kind == "Service" }

// destination is a resolved sink.
type destination struct {
	uri, caCerts, audience string
	watched                bool // a change arrives by itself
}

// resolveSink finds the addresses of the sink and of the dead letter sink. Without them the receiver keeps the route
// that it has, but for what has expired, and is told whether it is suspended.
func (r *Reconciler) resolveSink(ctx context.Context, run *state) error {
	err := r.findSink(ctx, run)
	if err != nil {
		if kept := r.keepRoutes(ctx, run); kept != nil {
			return kept
		}
	}
	return err
}

func (r *Reconciler) findSink(ctx context.Context, run *state) error {
	status := &run.webhook.Status
	status.SinkURI, status.SinkCACerts, status.SinkAudience = "", "", ""
	found, err := r.resolve(ctx, run, run.webhook.Spec.Sink)
	if err != nil {
		return err
	}
	run.sink = *found
	status.SinkURI, status.SinkCACerts, status.SinkAudience = found.uri, found.caCerts, found.audience
	if spec := deadLetterSink(run.webhook); spec != nil {
		if run.deadLetter, err = r.resolve(ctx, run, *spec); err != nil {
			return fmt.Errorf("delivery.deadLetterSink: %w", err)
		}
	}
	return nil
}

func deadLetterSink(webhook *v1alpha1.MandrillWebhook) *v1alpha1.Destination {
	if webhook.Spec.Delivery == nil {
		return nil
	}
	return webhook.Spec.Delivery.DeadLetterSink
}

// resolve finds the address of a sink that the object names.
func (r *Reconciler) resolve(ctx context.Context, run *state, spec v1alpha1.Destination) (*destination, error) {
	found := destination{uri: spec.URI}
	if spec.Ref != nil {
		var err error
		if found, err = r.address(ctx, run.webhook.Namespace, *spec.Ref); err != nil {
			return nil, err
		}
		if !found.watched {
			run.recheck = sinkInterval
		}
		if found.uri, err = join(found.uri, spec.URI); err != nil {
			return nil, err
		}
	}
	if spec.CACerts != "" {
		found.caCerts = spec.CACerts
	}
	if err := r.checkSinkHost(found.uri, isSidecar(run.webhook)); err != nil {
		return nil, err
	}
	if found.caCerts != "" && !routes.HoldsCertificate(found.caCerts) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkUnsupported, errors.New("the sink's CACerts hold no certificate: put PEM there, or leave it out"))
	}
	if spec.Audience != "" {
		found.audience = spec.Audience
	}
	// A token of the shared receiver's is good for every user's events: who runs it says for whom it may be.
	if found.audience != "" && !isSidecar(run.webhook) && !slices.Contains(r.SinkAudiences, found.audience) {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkUnsupported,
			fmt.Errorf("the sink asks for an OIDC token for the audience %q: have the receiver run with --oidc-token and the operator with --sink-audiences for it, or name a sink that asks for none", found.audience))
	}
	return &found, nil
}

// checkSinkHost refuses addresses that are the receiver's own machine, or that of the cloud's metadata: what is there
// trusts whoever can reach it, and the receiver would reach it on behalf of anybody who can create an object. A
// sidecar's own machine is the consumer's.
func (r *Reconciler) checkSinkHost(uri string, sidecar bool) error {
	parsed, err := url.Parse(uri)
	if err != nil {
		return controllers.Stalled(v1alpha1.ReasonSinkNotAddressable, errors.New("the sink's address is no URL"))
	}
	host := strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".")
	if slices.Contains(r.AllowSinkHosts, host) {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if sidecar && (host == "localhost" || err == nil && ip.Unmap().IsLoopback()) {
		return nil
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "metadata.google.internal"
	if err == nil {
		local = routes.LocalAddress(ip)
	} else if number.MatchString(host) { // 127.1, 0x7f000001: an address to some, a name to others
		local = true
	}
	if local {
		return controllers.Stalled(v1alpha1.ReasonSinkNotAllowed,
			fmt.Errorf("the sink's host %s is loopback, link-local or a metadata service: name another sink, or have the operator run with --allow-sink-hosts=%s", host, host))
	}
	return nil
}

// number is a host that may be read as an IPv4 address though it is not written as one.
var number = regexp.MustCompile(`^(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))*$`)

// address resolves a reference.
func (r *Reconciler) address(ctx context.Context, namespace string, ref v1alpha1.Reference) (destination, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if ref.Namespace != "" && ref.Namespace != namespace {
		if !r.AllowCrossNamespaceSinks {
			return destination{}, controllers.Stalled(v1alpha1.ReasonSinkNotAllowed,
				fmt.Errorf("the sink is in the namespace %q: name one in this namespace, or have the operator run with --allow-cross-namespace-sinks", ref.Namespace))
		}
		key.Namespace = ref.Namespace
	}
	if isService(ref) {
		return r.serviceAddress(ctx, key)
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return destination{}, controllers.Stalled(v1alpha1.ReasonSinkNotFound,
			fmt.Errorf("the sink's apiVersion %q is not of the form group/version: write it as in the object itself, such as eventing.knative.dev/v1", ref.APIVersion))
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gv.WithKind(ref.Kind))
	watched := r.sinks.ensure(ctx, object.GroupVersionKind()) // before it is read, so that no change is missed
	err = r.Client.Get(ctx, key, object)
	if meta.IsNoMatchError(err) || isGone(err) {
		return destination{}, controllers.Waiting(v1alpha1.ReasonSinkNotFound, sinkRetry,
			fmt.Errorf("the cluster has no kind %s in %s: install it, or correct the reference", ref.Kind, ref.APIVersion))
	}
	if apierrors.IsNotFound(err) {
		return destination{}, sinkNotFound(ref.Kind, key)
	}
	if apierrors.IsForbidden(err) {
		return destination{}, controllers.Waiting(v1alpha1.ReasonSinkNotAllowed, dependencyRetry,
			fmt.Errorf("the operator may not read the kind %s of %s: name a sink that receives events or, if this one does, let the operator get it", ref.Kind, ref.APIVersion))
	}
	if err != nil {
		return destination{}, fmt.Errorf("reading the sink: %w", err)
	}
	found, err := addressOf(object)
	found.watched = watched
	return found, err
}

// isGone tells whether the API server no longer serves a kind that the client still knows.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func sinkNotFound(kind string, key types.NamespacedName) error {
	return controllers.Waiting(v1alpha1.ReasonSinkNotFound, sinkRetry,
		fmt.Errorf("there is no %s %q in the namespace %q: create it, or correct the reference", kind, key.Name, key.Namespace))
}

// addressOf reads the address that an Addressable publishes: status.address or, of several, the first that can be used.
func addressOf(object *unstructured.Unstructured) (destination, error) {
	var candidates []any
	if address, ok, err := unstructured.NestedFieldNoCopy(object.Object, "status", "address"); ok && err == nil {
		candidates = append(candidates, address)
	}
	if list, ok, err := unstructured.NestedFieldNoCopy(object.Object, "status", "addresses"); ok && err == nil {
		several, _ := list.([]any) // another type is no address
		candidates = append(candidates, several...)
	}
	var found destination
	for _, candidate := range candidates {
		fields, _ := candidate.(map[string]any)
		var address destination
		address.uri, _ = fields["url"].(string)
		address.caCerts, _ = fields["CACerts"].(string)
		address.audience, _ = fields["audience"].(string)
		parsed, err := url.Parse(address.uri)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			continue
		}
		if found.uri == "" || found.audience != "" && address.audience == "" {
			found = address
		}
	}
	if found.uri == "" {
		return found, controllers.Waiting(v1alpha1.ReasonSinkNotAddressable, sinkRetry,
			fmt.Errorf("the %s %q has no URL in status.address.url (yet): wait until it is ready, or name an object that receives events",
				object.GetKind(), object.GetName()))
	}
	return found, nil
}

// serviceAddress is the DNS name of a core Service, with its port where that is not 80.
func (r *Reconciler) serviceAddress(ctx context.Context, key types.NamespacedName) (destination, error) {
	var service corev1.Service
	err := r.Client.Get(ctx, key, &service)
	if apierrors.IsNotFound(err) {
		return destination{}, sinkNotFound("Service", key)
	}
	if err != nil {
		return destination{}, fmt.Errorf("reading the sink: %w", err)
	}
	host := service.Name + "." + service.Namespace + ".svc." + r.ClusterDomain
	ports := service.Spec.Ports
	for _, port := range ports {
		if port.Port == 80 {
			return destination{uri: "http://" + host, watched: true}, nil
		}
	}
	if len(ports) != 1 {
		return destination{}, controllers.Stalled(v1alpha1.ReasonSinkNotAddressable,
			fmt.Errorf("the Service %q has %d ports and none is 80: write the address as sink.uri, such as http://%s:8080/", key.Name, len(ports), host))
	}
	return destination{uri: "http://" + host + ":" + strconv.Itoa(int(ports[0].Port)), watched: true}, nil
}

// join resolves a relative URI against an address, as Knative does.
func join(address, relative string) (string, error) {
	if relative == "" {
		return address, nil
	}
	base, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("parsing the sink's address: %w", err)
	}
	reference, err := url.Parse(relative)
	if err != nil {
		return "", controllers.Stalled(v1alpha1.ReasonSinkNotAddressable, errors.New("sink.uri is no path: write one such as /events"))
	}
	joined := base.ResolveReference(reference)
	if joined.Host != base.Host || joined.Scheme != base.Scheme {
		return "", controllers.Stalled(v1alpha1.ReasonSinkNotAllowed, errors.New("sink.uri leads away from the address of sink.ref: write a path such as /events"))
	}
	return joined.String(), nil
}
