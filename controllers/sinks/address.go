package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

func isService(ref v1alpha1.Reference) bool { return ref.APIVersion == "v1" && ref.Kind == "Service" }

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
	if isService(ref) {
		return r.serviceAddress(ctx, key)
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return Sink{}, controllers.Stalled(v1alpha1.ReasonSinkNotFound,
			fmt.Errorf("the sink's apiVersion %q is not of the form group/version: write it as in the object itself, such as eventing.knative.dev/v1", ref.APIVersion))
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gv.WithKind(ref.Kind))
	watched := r.watches.ensure(ctx, object.GroupVersionKind()) // before it is read, so that no change is missed
	err = r.options.Client.Get(ctx, key, object)
	if meta.IsNoMatchError(err) || isGone(err) {
		return Sink{}, controllers.Waiting(v1alpha1.ReasonSinkNotFound, retry,
			fmt.Errorf("the cluster has no kind %s in %s: install it, or correct the reference", ref.Kind, ref.APIVersion))
	}
	if apierrors.IsNotFound(err) {
		return Sink{}, notFound(ref.Kind, key)
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

func notFound(kind string, key types.NamespacedName) error {
	return controllers.Waiting(v1alpha1.ReasonSinkNotFound, retry,
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
		return Sink{}, notFound("Service", key)
	}
	if err != nil {
		return Sink{}, fmt.Errorf("reading the sink: %w", err)
	}
	if err := checkExternalName(&service); err != nil {
		return Sink{}, err
	}
	host := service.Name + "." + service.Namespace + ".svc." + r.options.Names.ClusterDomain
	ports := service.Spec.Ports
	for _, port := range ports {
		if port.Port == 80 {
			return Sink{URI: "http://" + host}, nil
		}
	}
	if len(ports) != 1 {
		return Sink{}, controllers.Stalled(v1alpha1.ReasonSinkNotAddressable,
			fmt.Errorf("the Service %q has %d ports and none is 80: write the address as sink.uri, such as http://%s:8080/", key.Name, len(ports), host))
	}
	return Sink{URI: "http://" + host + ":" + strconv.Itoa(int(ports[0].Port))}, nil
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
