package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// Secrets lists and watches the Secrets of a namespace. Those of package kubernetes implement it as well.
type Secrets interface {
	List(ctx context.Context, options metav1.ListOptions) (*corev1.SecretList, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// client implements Secrets with what they need of client-go. Package kubernetes links the types of all groups of the API, which would take
// a fifth of the receiver's memory at rest.
type client struct {
	rest      rest.Interface
	namespace string
}

// NewSecrets returns the Secrets of a namespace.
func NewSecrets(config *rest.Config, namespace string) (Secrets, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	made, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return &client{made, namespace}, nil
}

func (c *client) List(ctx context.Context, options metav1.ListOptions) (*corev1.SecretList, error) {
	found := &corev1.SecretList{}
	return found, c.get(options).Do(ctx).Into(found)
}

func (c *client) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return c.get(options).Watch(ctx)
}

func (c *client) get(options metav1.ListOptions) *rest.Request {
	return c.rest.Get().Namespace(c.namespace).Resource("secrets").VersionedParams(&options, metav1.ParameterCodec)
}
