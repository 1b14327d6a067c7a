package sinks

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Names is what the names of Services, and what the operator sees of them, depend on.
type Names struct {
	// Namespaces are those that the operator watches; all if empty.
	Namespaces    []string
	ClusterDomain string
	// Receiver is the namespace of the shared receiver, which the cluster's DNS looks in for short names.
	Receiver string
}

// target is a Service that a host may lead to.
type target struct {
	service types.NamespacedName // without a name for pods
	certain bool                 // otherwise it does if the Service exists
}

// targets returns the Services that a host may lead to from a pod in a namespace, by the search domains of its DNS.
func (n Names) targets(host, from string) []target {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	labels := strings.Split(strings.TrimSuffix(host, "."+n.ClusterDomain), ".")
	last := len(labels) - 1
	switch {
	case last >= 2 && labels[last] == "svc":
		return []target{{types.NamespacedName{Namespace: labels[last-1], Name: labels[last-2]}, true}}
	case last >= 2 && labels[last] == "pod":
		return []target{{types.NamespacedName{Namespace: labels[last-1]}, true}}
	}
	list := []target{{service: types.NamespacedName{Namespace: from, Name: labels[last]}}}
	if last >= 1 {
		list = append(list, target{service: types.NamespacedName{Namespace: labels[last], Name: labels[last-1]}})
	}
	return list
}

// watches reports whether the operator watches a namespace.
func (n Names) watches(namespace string) bool {
	return len(n.Namespaces) == 0 || slices.Contains(n.Namespaces, namespace)
}

// pod returns the namespace of the pod that sends an object's events.
func (n Names) pod(webhook *v1alpha1.MandrillWebhook) string {
	if webhook.Spec.Receiver == v1alpha1.ReceiverSidecar {
		return webhook.Namespace
	}
	return n.Receiver
}

// checkNamespace refuses an absolute URI that leads to a Service of another namespace, as a reference to it is refused. It
// sees names and addresses of Services, not what a name of somebody else's DNS resolves to.
func (r *Resolver) checkNamespace(ctx context.Context, webhook *v1alpha1.MandrillWebhook, uri string) error {
	parsed, err := url.Parse(uri)
	if err != nil {
		return nil //nolint:nilerr // checkHost refuses it
	}
	host := parsed.Hostname()
	if slices.Contains(r.options.AllowHosts, strings.ToLower(host)) {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return r.checkClusterIP(ctx, webhook.Namespace, ip)
	}
	for _, to := range r.options.Names.targets(host, r.options.Names.pod(webhook)) {
		var service corev1.Service
		if !to.certain || to.service.Namespace == webhook.Namespace && to.service.Name != "" {
			err := r.options.Client.Get(ctx, to.service, &service)
			// In a namespace that is not watched, nobody knows. But a host of one label is a name of the receiver's namespace.
			unseen := apierrors.IsForbidden(err) && !r.options.Names.watches(to.service.Namespace)
			if client.IgnoreNotFound(err) != nil && !unseen {
				return fmt.Errorf("looking for the sink's Service: %w", err)
			}
			if err != nil && (!unseen || strings.Contains(host, ".")) {
				continue
			}
		}
		if to.service.Namespace != webhook.Namespace {
			if err := r.refuseForeign(host, to.service.Namespace); err != nil {
				return err
			}
		} else if err := checkExternalName(&service); err != nil {
			return err
		}
	}
	return nil
}

// checkClusterIP refuses the cluster-internal address of a Service of another namespace.
func (r *Resolver) checkClusterIP(ctx context.Context, namespace string, ip netip.Addr) error {
	var list corev1.ServiceList
	if err := r.options.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("looking for the sink's Service: %w", err)
	}
	for _, service := range list.Items {
		if service.Namespace == namespace {
			continue
		}
		for _, text := range append([]string{service.Spec.ClusterIP}, service.Spec.ClusterIPs...) {
			if address, err := netip.ParseAddr(text); err == nil && address == ip.Unmap() {
				return r.refuseForeign(ip.String(), service.Namespace)
			}
		}
	}
	return nil
}

func (r *Resolver) refuseForeign(host, namespace string) error {
	if r.options.AllowCrossNamespace {
		return nil
	}
	return controllers.Stalled(v1alpha1.ReasonSinkNotAllowed,
		fmt.Errorf("the sink's host %s is in the namespace %q: name a sink in this namespace, or have the operator run with --allow-cross-namespace-sinks", host, namespace))
}

// checkExternalName refuses a Service that is only another name for a host: the sink would be that host, which nobody
// has checked.
func checkExternalName(service *corev1.Service) error {
	if service.Spec.Type != corev1.ServiceTypeExternalName {
		return nil
	}
	return controllers.Stalled(v1alpha1.ReasonSinkNotAddressable,
		fmt.Errorf("the Service %q is another name for the host %s: write the address as sink.uri, such as https://%s/", service.Name, service.Spec.ExternalName, service.Spec.ExternalName))
}
