// Package access reaches what the commands work on, with the rights of the person who runs them: the API server, and receivers
// by exec.
package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// RequestTimeout bounds each request to the API server, unless --request-timeout says otherwise.
const RequestTimeout = 30 * time.Second

// Env is what a command is run with. Tests replace its parts.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Now      func() time.Time
	Connect  func(*Flags) (*Cluster, error) // default: by kubeconfig
	Client   *http.Client                   // for public URLs, and for sinks of listen; redirects are not followed
	Resolver *net.Resolver
	Browser  func(ctx context.Context, url string) error // opens a page; nil: there is none
	Flags    Flags
}

// Flags are those that all commands have.
type Flags struct {
	AllNamespaces     bool
	ReceiverNamespace string
	MandrillAPI       string
	kubeconfig        string
	overrides         clientcmd.ConfigOverrides
}

// Add adds kubectl's flags for the cluster, in kubectl's spelling, and those for the receivers.
func (f *Flags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, or ~/.kube/config")
	clientcmd.BindOverrideFlags(&f.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	flags.StringVar(&f.ReceiverNamespace, "receiver-namespace", "",
		"namespace of the shared receivers; default: all namespaces in which you may list pods, or mandrill-operator-system")
	flags.StringVar(&f.MandrillAPI, "mandrill-api-url", mandrill.DefaultBaseURL, "base URL of Mandrill's API")
}

// Cluster is the API server.
type Cluster struct {
	Client    client.Client
	Pods      Pods
	Namespace string // of the kubeconfig or --namespace
}

// Connect connects to the cluster that the flags name.
func Connect(f *Flags) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &f.overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return NewCluster(config, namespace)
}

// silence discards the logs of the client, which has nothing to say and complains without a logger. Setting it twice would be a race.
var silence = sync.OnceFunc(func() { log.SetLogger(logr.Discard()) })

// NewCluster returns the cluster of a configuration.
func NewCluster(config *rest.Config, namespace string) (*Cluster, error) {
	silence()
	config = rest.CopyConfig(config)
	if config.Timeout == 0 {
		config.Timeout = RequestTimeout
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return &Cluster{Client: c, Pods: newKubelets(config), Namespace: namespace}, nil
}

// Scheme has the kinds that the commands read and write.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Webhook reads a MandrillWebhook.
func (c *Cluster) Webhook(ctx context.Context, name string) (*v1alpha1.MandrillWebhook, error) {
	webhook := &v1alpha1.MandrillWebhook{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, webhook); err != nil {
		return nil, Explain(err, fmt.Sprintf("MandrillWebhook %s/%s", c.Namespace, name), "get mandrillwebhooks.mandrill-operator.io in namespace "+c.Namespace)
	}
	return webhook, nil
}

// Webhooks lists the MandrillWebhooks of a namespace, or of all if it is empty.
func (c *Cluster) Webhooks(ctx context.Context, namespace string) ([]v1alpha1.MandrillWebhook, error) {
	var list v1alpha1.MandrillWebhookList
	if err := c.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, Explain(err, "MandrillWebhooks", "list mandrillwebhooks.mandrill-operator.io "+where(namespace))
	}
	return list.Items, nil
}

// SecretValue reads a key of a Secret. The error never holds the value.
func (c *Cluster) SecretValue(ctx context.Context, namespace, name, key string) (string, error) {
	var secret corev1.Secret
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		return "", Explain(err, fmt.Sprintf("Secret %s/%s", namespace, name), fmt.Sprintf("get secrets in namespace %s (Secret %s)", namespace, name))
	}
	value, ok := secret.Data[key]
	if !ok || len(value) == 0 {
		return "", fmt.Errorf("the Secret %s/%s has no %s", namespace, name, key)
	}
	return string(value), nil
}

func where(namespace string) string {
	if namespace == "" {
		return "in all namespaces: name one by --namespace"
	}
	return "in namespace " + namespace
}

// ForbiddenError says which right is missing.
type ForbiddenError struct{ Right string }

func (e *ForbiddenError) Error() string {
	return "you lack a right: " + e.Right
}

// Explain returns a sentence for an error of the API server. What names the object, and right what is needed for it.
func Explain(err error, what, right string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return &ForbiddenError{right}
	case meta.IsNoMatchError(err):
		return errors.New("the cluster has no MandrillWebhooks: install the operator first, or name another cluster by --context")
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s does not exist: %w", what, err)
	case apierrors.IsUnauthorized(err):
		return errors.New("the API server does not accept your credentials: log in again")
	}
	return fmt.Errorf("reading %s: %w", what, err)
}
