package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// The emulated Mandrill has two accounts: that of the samples, and one for a test that sends many events.
const (
	apiKey  = "demo-key"
	bulkKey = "bulk-key"
)

// cluster is the cluster of E2E_KUBECONFIG.
type cluster struct {
	client    client.Client
	clientset *kubernetes.Clientset
}

// connect skips the test without a cluster.
func connect(t *testing.T) *cluster {
	t.Helper()
	kubeconfig := os.Getenv("E2E_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("there is no cluster: run make e2e")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	log.SetLogger(logr.Discard()) // the client has nothing to say, and complains without a logger
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if c.clientset, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// command runs kubectl, helm or another program on the cluster and returns its output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	return commandWith(t, "", name, args...)
}

func commandWith(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	output, err := run(t.Context(), stdin, append([]string{name}, args...)...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}

// run is command for goroutines and cleanups, which must not end the test.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), "KUBECONFIG="+os.Getenv("E2E_KUBECONFIG"))
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	return string(output), err
}

// inCluster runs a command on the node, and skips the test if the cluster is not that of make cluster-up.
func inCluster(t *testing.T, args ...string) string {
	t.Helper()
	needsNode(t)
	return command(t, os.Getenv("E2E_CLUSTER"), append([]string{"exec"}, args...)...)
}

func needsNode(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E_CLUSTER") == "" {
		t.Skip("this needs a command on the node, so it runs on the cluster of make cluster-up only")
	}
}

// clusterFolder is where the cluster of make cluster-up has its data.
func clusterFolder() string { return filepath.Dir(os.Getenv("E2E_KUBECONFIG")) }

// manifest reads a file of manifests and fills in its upper-case words.
func manifest(t *testing.T, path string, replacements ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	replacements = append(replacements, "REGISTRY", registry(), "TAG", tag())
	return strings.NewReplacer(replacements...).Replace(string(data))
}

func registry() string { return cmp.Or(os.Getenv("E2E_REGISTRY"), "mandrill-operator.io") }
func tag() string      { return cmp.Or(os.Getenv("E2E_TAG"), "e2e") }

func apply(t *testing.T, manifests string) {
	t.Helper()
	commandWith(t, manifests, "kubectl", "apply", "--filename", "-")
}

// patience is how long something may take: more than the 4 minutes in which the operator notices that a receiver has gone.
const patience = 5 * time.Minute

// eventually waits until the condition holds, and fails with what it last reported if that takes too long.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	poll.NoError(t, patience, what, condition)
}

// call makes a request to a Service, through the API server, and decodes the answer. It waits while no pod of the Service is ready.
func (c *cluster) call(t *testing.T, method, namespace, service, path string, query map[string]string, body, answer any) error {
	t.Helper()
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var data []byte
	eventually(t, service+" answers", func() error {
		request := c.clientset.CoreV1().RESTClient().Verb(method).Namespace(namespace).Resource("services").Name(service).SubResource("proxy").Suffix(path)
		for name, value := range query {
			request.Param(name, value)
		}
		if method == http.MethodPost {
			request.Body(bytes.NewReader(sent)).SetHeader("Content-Type", "application/json")
		}
		if data, err = request.DoRaw(t.Context()); apierrors.IsServiceUnavailable(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w: %s", path, err, data)
	}
	return json.Unmarshal(data, answer)
}

// mandrill calls a control of the emulated Mandrill, for the account of an API key.
func (i *installation) mandrill(t *testing.T, control string, fields map[string]any, answer any) {
	t.Helper()
	body := map[string]any{"key": apiKey}
	maps.Copy(body, fields)
	if err := i.cluster.call(t, http.MethodPost, cmp.Or(i.mandrillAt, "e2e"), "mandrill:api", "/emulator/"+control, nil, body, answer); err != nil {
		t.Fatal(err)
	}
}

// mandrillWebhooks returns the URLs of the webhooks that the emulated Mandrill has.
func (i *installation) mandrillWebhooks(t *testing.T) []string {
	t.Helper()
	var webhooks []struct {
		URL string `json:"url"`
	}
	i.mandrill(t, "webhooks", nil, &webhooks)
	urls := make([]string, 0, len(webhooks))
	for _, webhook := range webhooks {
		urls = append(urls, webhook.URL)
	}
	return urls
}

// pods returns the receivers of a release that are not being deleted, or the operators.
func (c *cluster) pods(t *testing.T, namespace, component string) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	labels := client.MatchingLabels{"app.kubernetes.io/name": "mandrill-operator", "app.kubernetes.io/component": component}
	if err := c.client.List(t.Context(), list, client.InNamespace(namespace), labels); err != nil {
		t.Fatal(err)
	}
	pods := list.Items[:0]
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// ready counts the ready pods of a component.
func (c *cluster) ready(t *testing.T, namespace, component string) int {
	t.Helper()
	ready := 0
	for _, pod := range c.pods(t, namespace, component) {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return ready
}

// awaitReady waits until as many pods are ready.
func (c *cluster) awaitReady(t *testing.T, namespace, component string, want int) {
	t.Helper()
	eventually(t, component, func() error {
		if ready := c.ready(t, namespace, component); ready != want {
			return fmt.Errorf("%d pods are ready, want %d", ready, want)
		}
		return nil
	})
}

// webhook reads a MandrillWebhook.
func (c *cluster) webhook(t *testing.T, namespace, name string) *v1alpha1.MandrillWebhook {
	t.Helper()
	object := &v1alpha1.MandrillWebhook{}
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

// awaitCondition waits until a condition of a MandrillWebhook has a status.
func (c *cluster) awaitCondition(t *testing.T, namespace, name, condition string, status metav1.ConditionStatus) {
	t.Helper()
	eventually(t, namespace+"/"+name, func() error {
		object := c.webhook(t, namespace, name)
		for _, have := range object.Status.Conditions {
			if have.Type == condition && have.Status == status {
				return nil
			}
		}
		return fmt.Errorf("%s is not %s: %+v", condition, status, object.Status.Conditions)
	})
}

// awaitReason waits until a condition of a MandrillWebhook has a reason.
func (c *cluster) awaitReason(t *testing.T, namespace, name, condition, reason string) {
	t.Helper()
	eventually(t, namespace+"/"+name, func() error {
		have := apimeta.FindStatusCondition(c.webhook(t, namespace, name).Status.Conditions, condition)
		if have == nil || have.Reason != reason {
			return fmt.Errorf("%s does not have the reason %s: %+v", condition, reason, have)
		}
		return nil
	})
}
