package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// neighbour is an operator of its own, in a namespace of its own, whose receiver answers probes and nothing else. Its user has no
// rights but those that a test gives.
type neighbour struct {
	scope     scope.Scope
	user      string
	routes    types.NamespacedName
	publicURL string
	resync    time.Duration
}

// newNeighbour makes the namespace of an operator.
func newNeighbour(t *testing.T, scope scope.Scope) *neighbour {
	t.Helper()
	namespace := newNamespace(t)
	return &neighbour{scope: scope, user: "operator-of-" + namespace, routes: types.NamespacedName{Namespace: namespace, Name: "routes"}, resync: 200 * time.Millisecond}
}

// permit gives the operator rights in a namespace, which are all that it needs there.
func (n *neighbour) permit(t *testing.T, namespace string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	create(t, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: n.user}, Rules: rules})
	create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: n.user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: n.user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: n.user}},
	})
}

// rightsInNamespace are what the operator needs in a watched namespace, except those to MandrillWebhooks themselves.
func rightsInNamespace() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("mandrill-operator.io", []string{"mandrillwebhooks/status"}, "patch"),
		rule("mandrill-operator.io", []string{"mandrillwebhooks/finalizers"}, "update"),
		rule("", []string{"secrets"}, "get", "list", "watch", "create", "patch"),
		rule("", []string{"services"}, "get", "list", "watch"),
		rule("events.k8s.io", []string{"events"}, "create", "patch"),
	}
}

// permitOwn gives the operator rights in its own namespace: the Secrets with routes, by their names, and its Lease.
func (n *neighbour) permitOwn(t *testing.T) {
	t.Helper()
	secrets := rule("", []string{"secrets"}, "get", "list", "watch", "create", "patch")
	for number := range routes.MaxSecrets {
		secrets.ResourceNames = append(secrets.ResourceNames, routes.SecretName("routes", number))
	}
	n.permit(t, n.routes.Namespace, secrets,
		rule("coordination.k8s.io", []string{"leases"}, "get", "list", "watch", "create", "update", "patch"),
		rule("events.k8s.io", []string{"events"}, "create", "patch"), rule("", []string{"events"}, "create", "patch"))
}

// permitEverywhere gives the operator rights in all namespaces.
func (n *neighbour) permitEverywhere(t *testing.T, rules ...rbacv1.PolicyRule) {
	t.Helper()
	create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: n.user}, Rules: rules})
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: n.user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: n.user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: n.user}},
	})
}

func rule(group string, resources []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}

// start runs the operator with the rights of its user and of groups, until the test ends or stops it.
func (n *neighbour) start(t *testing.T, apiURL string, groups ...string) (stop func()) {
	t.Helper()
	rights := addUser(t, envtest.User{Name: n.user, Groups: groups}).Config()
	rights.QPS = -1
	skipNameValidation := true
	options := mandrillwebhook.ManagerOptions(scheme)
	n.scope.Limit(&options.Cache)
	options.Metrics, options.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	options.Controller = config.Controller{SkipNameValidation: &skipNameValidation}
	options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, n.scope.LeaseName(), n.routes.Namespace
	options.LeaderElectionReleaseOnCancel = true
	manager, err := ctrl.NewManager(rights, options)
	if err != nil {
		t.Fatal(err)
	}
	reconciler := mandrillwebhook.New(mandrillwebhook.Options{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Scope: n.scope, Recorder: manager.GetEventRecorder("mandrill-operator"),
		RoutesSecret: n.routes, PublicURL: n.publicURL, Resync: n.resync, AllowSinkHosts: []string{"127.0.0.1"},
		NewAPI: func(key string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: apiURL})
		},
	})
	if err := reconciler.SetupWithManager(t.Context(), manager); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- manager.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("operator of %s: %v", n.routes.Namespace, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// mandrillOf returns a Mandrill with an account, and the URL of its API.
func mandrillOf(t *testing.T) (*mandrilltest.Account, string) {
	t.Helper()
	emulator := mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey}, BatchInterval: time.Hour})
	t.Cleanup(emulator.Close)
	api := httptest.NewServer(emulator)
	t.Cleanup(api.Close)
	return emulator.Account(lifecycleKey), api.URL + "/api/1.0"
}

// answersProbes is a receiver that serves every URL.
type answersProbes struct{}

func (answersProbes) ServeHTTP(http.ResponseWriter, *http.Request) {}

// newObject creates an object of an installation that nobody else handles.
func newObject(t *testing.T, namespace, installation string) *v1alpha1.MandrillWebhook {
	t.Helper()
	createKey(t, namespace, lifecycleKey)
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "transactional"},
		Spec: v1alpha1.MandrillWebhookSpec{
			Installation: installation, Events: []v1alpha1.EventName{"open"},
			APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: "http://127.0.0.1:1/"},
		},
	}
	create(t, webhook)
	return webhook
}

// With --watch-namespaces, roles in the namespaces are enough: no right in the cluster, and in the operator's own namespace only
// the Secrets with routes, by their names.
func TestNamespacesAreWatchedWithRolesOnly(t *testing.T) {
	t.Parallel()
	account, apiURL := mandrillOf(t)
	watched, second, other := newNamespace(t), newNamespace(t), newNamespace(t)
	n := newNeighbour(t, scope.Scope{Installation: "roles-only", Namespaces: []string{watched, second}})
	server := httptest.NewServer(answersProbes{})
	t.Cleanup(server.Close)
	n.publicURL = server.URL
	for _, namespace := range []string{watched, second} {
		n.permit(t, namespace, append(rightsInNamespace(), rule("mandrill-operator.io", []string{"mandrillwebhooks"}, "get", "list", "watch", "patch"))...)
	}
	n.permitOwn(t)
	n.start(t, apiURL)

	mine, elsewhere, nobodys := newObject(t, watched, "roles-only"), newObject(t, other, "roles-only"), newObject(t, second, "nobody")
	await(t, mine, "Ready", "True", "Succeeded")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: watched, Name: "late"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	edit(t, mine, func() {
		mine.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "late"}}
	})
	await(t, mine, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
	create(t, service)
	await(t, mine, "Ready", "True", "Succeeded")
	edit(t, mine, func() {
		mine.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Name: "x"}}
	})
	await(t, mine, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
	for host, reason := range map[string]string{"consumer": v1alpha1.ReasonSinkNotAllowed, "consumer.example.com": "Succeeded", "consumer." + other + ".svc": v1alpha1.ReasonSinkNotAllowed} {
		status := "False"
		if reason == "Succeeded" {
			status = "True"
		}
		edit(t, mine, func() { mine.Spec.Sink = v1alpha1.Destination{URI: "http://" + host + "/"} })
		await(t, mine, "SinkProvided", status, reason)
	}
	edit(t, mine, func() { mine.Spec.Sink = v1alpha1.Destination{URI: "http://127.0.0.1:1/"} })
	await(t, mine, "Ready", "True", "Succeeded")

	spoiled := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.routes.Namespace, Name: n.routes.Name}}
	if err := admin.Delete(t.Context(), spoiled); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the routes come back", func() error { return admin.Get(t.Context(), n.routes, &corev1.Secret{}) })
	for _, object := range []*v1alpha1.MandrillWebhook{elsewhere, nobodys} {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
		if len(object.Finalizers) > 0 || len(object.Status.Conditions) > 0 {
			t.Errorf("the object in %s is handled: %+v", object.Namespace, object)
		}
	}
	if err := admin.Delete(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the webhook goes", func() error {
		if list := account.Webhooks(); len(list) > 0 {
			return fmt.Errorf("Mandrill has %+v", list)
		}
		return nil
	})
}

// A watched namespace that does not exist, as after it was deleted, keeps the operator neither from starting nor from the other namespaces.
// When it is there, with its Role, its objects are handled.
func TestMissingNamespaceDelaysNoOther(t *testing.T) {
	t.Parallel()
	account, apiURL := mandrillOf(t)
	watched := newNamespace(t)
	missing := "missing-" + watched
	n := newNeighbour(t, scope.Scope{Installation: "missing", Namespaces: []string{missing, watched}})
	server := httptest.NewServer(answersProbes{})
	t.Cleanup(server.Close)
	n.publicURL = server.URL
	n.permitEverywhere(t, rule("mandrill-operator.io", []string{"mandrillwebhooks"}, "get", "list", "watch", "patch"))
	n.permit(t, watched, rightsInNamespace()...)
	n.permitOwn(t)
	n.start(t, apiURL)
	await(t, newObject(t, watched, "missing"), "Ready", "True", "Succeeded")

	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: missing}})
	n.permit(t, missing, rightsInNamespace()...)
	late := newObject(t, missing, "missing")
	await(t, late, "Ready", "True", "Succeeded")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: missing, Name: "late"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	create(t, service)
	edit(t, late, func() {
		late.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "late"}}
	})
	await(t, late, "SinkProvided", "True", "Succeeded")
	if list := account.Webhooks(); len(list) != 2 {
		t.Errorf("Mandrill has %+v, want the webhooks of both namespaces", list)
	}
}

// Two operators that both handle an object say so and stop. When one of them no longer does, the object is Ready by itself.
func TestTwoOperatorsWithOneObjectGiveWay(t *testing.T) {
	t.Parallel()
	account, apiURL := mandrillOf(t)
	shared := scope.Scope{Installation: "shared"}
	first, second := newNeighbour(t, shared), newNeighbour(t, shared)
	for _, n := range []*neighbour{first, second} {
		server := httptest.NewServer(answersProbes{})
		t.Cleanup(server.Close)
		n.publicURL = server.URL
		n.resync = time.Second // each must change the webhook twice within six times that
	}
	first.start(t, apiURL, "system:masters")
	webhook := newObject(t, newNamespace(t), "shared")
	await(t, webhook, "Ready", "True", "Succeeded")
	stop := second.start(t, apiURL, "system:masters")
	eventually(t, "one of them gives way", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
			return err
		}
		for _, name := range []string{"Registered", "SigningKeyStored"} {
			if got := condition(webhook, name); got.Reason == v1alpha1.ReasonContested && strings.Contains(got.Message, "spec.installation") {
				return nil
			}
		}
		return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
	})
	stop()
	eventually(t, "the first has the webhook", func() error {
		list := account.Webhooks()
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
			return err
		}
		if ready := condition(webhook, "Ready"); len(list) != 1 || !strings.HasPrefix(list[0].URL, first.publicURL) || ready.Reason != "Succeeded" {
			return fmt.Errorf("the object says %+v, and Mandrill has %+v", ready, list)
		}
		return nil
	})
}

// An object moves from one installation to another: the webhook stays, both receivers have its routes for a while, and its deletion
// leaves nothing at either.
func TestObjectMovesBetweenInstallations(t *testing.T) {
	t.Parallel()
	account, apiURL := mandrillOf(t)
	from, to := newNeighbour(t, scope.Scope{Installation: "from"}), newNeighbour(t, scope.Scope{Installation: "to"})
	for _, n := range []*neighbour{from, to} {
		server := httptest.NewServer(answersProbes{})
		t.Cleanup(server.Close)
		n.publicURL = server.URL
		n.start(t, apiURL, "system:masters")
	}
	webhook := newObject(t, newNamespace(t), "from")
	await(t, webhook, "Ready", "True", "Succeeded")
	id := webhook.Status.WebhookID
	edit(t, webhook, func() { webhook.Spec.Installation = "to" })
	await(t, webhook, "Ready", "True", "Succeeded")
	if list := account.Webhooks(); len(list) != 1 || list[0].ID != id || !strings.HasPrefix(list[0].URL, to.publicURL) {
		t.Errorf("Mandrill has %+v", list)
	}
	hasRoute := func(n *neighbour) bool {
		var secret corev1.Secret
		return admin.Get(t.Context(), n.routes, &secret) == nil && strings.Contains(string(secret.Data[routes.Key]), webhook.Namespace+"/")
	}
	if !hasRoute(from) || !hasRoute(to) {
		t.Errorf("the receivers have routes: %t and %t", hasRoute(from), hasRoute(to))
	}
	assertEvents(t, webhook.Namespace, "HandedOver", "Registered", "Updated")
	if err := admin.Delete(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() error {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook)
		if client.IgnoreNotFound(err) != nil || err == nil || len(account.Webhooks()) > 0 || hasRoute(from) || hasRoute(to) {
			return fmt.Errorf("the object has %v, Mandrill %v, the receivers %t and %t", webhook.Finalizers, account.Webhooks(), hasRoute(from), hasRoute(to))
		}
		return nil
	})
}
