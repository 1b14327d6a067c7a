package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

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

func isService(ref v1alpha1.Reference) bool { return ref.APIVersion == "v1" && ref.Kind == "Service" }

// workloads are kinds that run pods and receive nothing themselves.
var workloads = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "Ingress"}

// checkReference refuses references that lead nowhere in any cluster.
func checkReference(ref v1alpha1.Reference) error {
	refuse := func(format string, args ...any) error {
		return controllers.Stalled(v1alpha1.ReasonSinkNotFound, fmt.Errorf("sink.ref: "+format, args...))
	}
	first := ref.Kind[:min(1, len(ref.Kind))]
	switch {
	case strings.ToUpper(first) != first:
		return refuse("a kind begins with a capital letter: write kind: %s instead of %s", strings.ToUpper(first)+ref.Kind[1:], ref.Kind)
	case ref.Kind == "Service" && (ref.APIVersion == "core/v1" || ref.APIVersion == "apps/v1" || ref.APIVersion == "core"):
		return refuse("Services are in apiVersion v1: write apiVersion: v1 instead of %s", ref.APIVersion)
	case slices.Contains(workloads, ref.Kind) && isBuiltIn(ref.APIVersion):
		return refuse("the kind %s does not receive events: name the Service that leads to it, with apiVersion: v1 and kind: Service", ref.Kind)
	}
	return nil
}

// isBuiltIn reports whether an API version is of Kubernetes itself.
func isBuiltIn(apiVersion string) bool {
	group, _, _ := strings.Cut(apiVersion, "/")
	return apiVersion == "v1" || slices.Contains([]string{"apps", "batch", "networking.k8s.io"}, group)
}

// address returns the address of an object.
func (r *Resolver) address(ctx context.Context, namespace string, ref v1alpha1.Reference) (Sink, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if ref.Namespace != "" && ref.Namespace != namespace {
		if !r.options.AllowCrossNamespace {
			return Sink{}, controllers.Stalled(v1alpha1.ReasonSinkNotAllowed,
				fmt.Errorf("the sink is in the namespace %q: name one in this namespace, or have the operator run with --allow-cross-namespace-sinks", ref.Namespace))
		}
		key.Namespace = ref.Namespace
	}
	if err := checkReference(ref); err != nil {
		return Sink{}, err
	}
	if isService(ref) {
		found, err := r.serviceAddress(ctx, key)
		if !r.options.Names.watches(key.Namespace) {
			found.Recheck = recheckInterval
		}
		return found, err
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return Sink{}, controllers.Stalled(v1alpha1.ReasonSinkNotFound,
			fmt.Errorf("the sink's apiVersion %q is not of the form group/version: write it as in the object itself, such as eventing.knative.dev/v1", ref.APIVersion))
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gv.WithKind(ref.Kind))
	// Before it is read, so that no change is missed.
	watched := r.options.Names.watches(key.Namespace) && r.watches.ensure(ctx, object.GroupVersionKind())
	err = r.options.Client.Get(ctx, key, object)
	if meta.IsNoMatchError(err) || isGone(err) {
		return Sink{}, controllers.Waiting(v1alpha1.ReasonSinkNotFound, retry,
			fmt.Errorf("the cluster has no kind %s in %s: install it, or correct the reference", ref.Kind, ref.APIVersion))
	}
	if apierrors.IsNotFound(err) {
		return Sink{}, notFound(ref.Kind, key, watched)
	}
	if apierrors.IsForbidden(err) {
		return Sink{}, controllers.Waiting(v1alpha1.ReasonSinkNotAllowed, forbiddenRetry,
			fmt.Errorf("the operator may not read the kind %s of %s: name a sink that receives events or, if this one does, let the operator get it", ref.Kind, ref.APIVersion))
	}
	if err != nil {
		return Sink{}, fmt.Errorf("reading the sink: %w", err)
	}
	found, err := addressOf(object)
	if !watched {
		found.Recheck = recheckInterval
	}
	return found, err
}

// isGone reports whether the API server no longer serves a kind that the client still knows.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func notFound(kind string, key types.NamespacedName, watched bool) error {
	after := retry
	if watched {
		after = recheckInterval
	}
	return controllers.Waiting(v1alpha1.ReasonSinkNotFound, after,
		fmt.Errorf("there is no %s %q in the namespace %q: create it, or correct the reference", kind, key.Name, key.Namespace))
}

// addressOf returns the address that an Addressable publishes: the first usable one of status.address and
// status.addresses, preferably one that needs no token.
func addressOf(object *unstructured.Unstructured) (Sink, error) {
	var candidates []any
	if address, ok, err := unstructured.NestedFieldNoCopy(object.Object, "status", "address"); ok && err == nil {
		candidates = append(candidates, address)
	}
	if list, ok, err := unstructured.NestedFieldNoCopy(object.Object, "status", "addresses"); ok && err == nil {
		several, _ := list.([]any) // nil for another type
		candidates = append(candidates, several...)
	}
	var found Sink
	for _, candidate := range candidates {
		fields, _ := candidate.(map[string]any)
		var address Sink
		address.URI, _ = fields["url"].(string)
		address.CACerts, _ = fields["CACerts"].(string)
		address.Audience, _ = fields["audience"].(string)
		parsed, err := url.Parse(address.URI)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			continue
		}
		if found.URI == "" || found.Audience != "" && address.Audience == "" {
			found = address
		}
	}
	if found.URI == "" {
		return found, controllers.Waiting(v1alpha1.ReasonSinkNotAddressable, retry,
			fmt.Errorf("the %s %q has no URL in status.address.url (yet): wait until it is ready, or name an object that receives events",
				object.GetKind(), object.GetName()))
	}
	return found, nil
}

// serviceAddress returns the DNS name of a core Service, with its port if that is not 80.
func (r *Resolver) serviceAddress(ctx context.Context, key types.NamespacedName) (Sink, error) {
	var service corev1.Service
	err := r.options.Client.Get(ctx, key, &service)
	if apierrors.IsNotFound(err) {
		return Sink{}, notFound("Service", key, true)
	}
	if apierrors.IsForbidden(err) {
		return Sink{}, controllers.Waiting(v1alpha1.ReasonSinkNotAllowed, forbiddenRetry,
			fmt.Errorf("the operator may not read the Services of the namespace %q: name a sink in a namespace that it watches, or let the operator get them", key.Namespace))
	}
	if err != nil {
		return Sink{}, fmt.Errorf("reading the sink: %w", err)
	}
	if err := checkExternalName(&service); err != nil {
		return Sink{}, err
	}
	host := service.Name + "." + service.Namespace + ".svc." + r.options.Names.ClusterDomain
	port, number, err := servicePort(&service, host)
	if err != nil {
		return Sink{}, err
	}
	found := Sink{URI: "http://" + host}
	if number != 80 {
		found.URI += ":" + strconv.Itoa(number)
	}
	if port.AppProtocol != nil && *port.AppProtocol == routes.ProtocolH2C {
		found.AppProtocol = routes.ProtocolH2C
	}
	return found, nil
}

// servicePort returns the port at which a Service takes HTTP without TLS, and its number behind the Service's name.
func servicePort(service *corev1.Service, host string) (port corev1.ServicePort, number int, err error) {
	refuse := func(format string, args ...any) (corev1.ServicePort, int, error) {
		return port, 0, controllers.Stalled(v1alpha1.ReasonSinkNotAddressable, fmt.Errorf("the Service %q "+format, append([]any{service.Name}, args...)...))
	}
	var ports []corev1.ServicePort
	for _, port := range service.Spec.Ports {
		if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
			ports = append(ports, port)
		}
	}
	at := slices.IndexFunc(ports, func(port corev1.ServicePort) bool { return port.Port == 80 })
	switch {
	case len(ports) == 0:
		return refuse("has no TCP port: add the port of the consumer to it, or write the address as sink.uri, such as http://%s:8080/", host)
	case at < 0 && len(ports) > 1:
		return refuse("has %d ports and none is 80: write the address as sink.uri, such as http://%s:8080/", len(ports), host)
	}
	port = ports[max(at, 0)]
	if port.Port == 443 || port.Name == "https" || port.AppProtocol != nil && *port.AppProtocol == "https" {
		return refuse("takes HTTPS at its port %d: write the address as sink.uri, such as https://%s:%d/", port.Port, host, port.Port)
	}
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		return port, int(port.Port), nil
	}
	// The name of a headless Service leads to the pods, so the port is theirs.
	switch {
	case port.TargetPort.StrVal != "":
		return refuse("is headless, and its port %d is one of the pods by name, %q: write the address with its number as sink.uri, such as http://%s:8080/",
			port.Port, port.TargetPort.StrVal, host)
	case port.TargetPort.IntVal != 0:
		return port, int(port.TargetPort.IntVal), nil
	}
	return port, int(port.Port), nil
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
