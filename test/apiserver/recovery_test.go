package apiserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// recovery is an object that is stalled, and what the message of its condition says to do.
type recovery struct {
	condition string
	object    func(*v1alpha1.MandrillWebhook)
	prepare   func(t *testing.T, namespace string)                  // before the object exists
	remedy    func(t *testing.T, webhook *v1alpha1.MandrillWebhook) // applied once it is stalled
	recovered func(t *testing.T, webhook *v1alpha1.MandrillWebhook) // default: it is Ready
}

func secretOf(namespace, name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := admin.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func changeSecret(t *testing.T, namespace, name string, change func(*corev1.Secret)) {
	t.Helper()
	var secret corev1.Secret
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &secret); err != nil {
		t.Fatal(err)
	}
	change(&secret)
	if err := admin.Update(t.Context(), &secret); err != nil {
		t.Fatal(err)
	}
}

// foreignSecret is a Secret of somebody else's under a name that the operator wants.
func foreignSecret(name string) func(*testing.T, string) {
	return func(t *testing.T, namespace string) {
		t.Helper()
		create(t, secretOf(namespace, name, map[string]string{"password": "x"}))
	}
}

func deleteSecret(name string) func(*testing.T, *v1alpha1.MandrillWebhook) {
	return func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
		t.Helper()
		if err := admin.Delete(t.Context(), secretOf(webhook.Namespace, name, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func hookSecret(o *v1alpha1.MandrillWebhook) {
	o.Spec.URLSecretRef = &v1alpha1.URLSecretRef{Name: "hook", Key: "token"}
}

// recoveries has a case for every reason of Stalled whose remedy is in the cluster.
func (i *installation) recoveries() map[string]recovery {
	toConsumer := func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
		t.Helper()
		edit(t, webhook, func() { webhook.Spec.Sink = v1alpha1.Destination{URI: i.consumer.URL} })
	}
	return map[string]recovery{
		"SinkNotAllowed": {
			condition: "SinkProvided", remedy: toConsumer,
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://169.254.169.254/"} },
		},
		"SinkNotFound": {
			condition: "SinkProvided", remedy: toConsumer,
			object: func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "a/b/c", Kind: "Service", Name: "x"}}
			},
		},
		"SinkCertificateInvalid": {
			condition: "SinkProvided", remedy: toConsumer,
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.CACerts = "none" },
		},
		"SinkNotAddressable": {
			condition: "SinkProvided",
			object: func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "several"}}
			},
			prepare: func(t *testing.T, namespace string) {
				t.Helper()
				create(t, &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "several"},
					Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "a", Port: 8080}, {Name: "b", Port: 8081}}},
				})
			},
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				var service corev1.Service
				if err := admin.Get(t.Context(), types.NamespacedName{Namespace: webhook.Namespace, Name: "several"}, &service); err != nil {
					t.Fatal(err)
				}
				service.Spec.Ports[1].Port = 80
				if err := admin.Update(t.Context(), &service); err != nil {
					t.Fatal(err)
				}
			},
		},
		"URLSecretMissing": {
			condition: "ReceiverReady", object: hookSecret,
			prepare: func(t *testing.T, namespace string) {
				t.Helper()
				secret := secretOf(namespace, "hook", nil)
				secret.Annotations = map[string]string{v1alpha1.AnnotationAllowURLSecret: "true"}
				create(t, secret)
			},
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				changeSecret(t, webhook.Namespace, "hook", func(s *corev1.Secret) { s.StringData = map[string]string{"token": "x"} })
			},
		},
		"SecretNotAllowed": {
			condition: "ReceiverReady", object: hookSecret,
			prepare: func(t *testing.T, namespace string) {
				t.Helper()
				create(t, secretOf(namespace, "hook", map[string]string{"token": "x"}))
			},
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				changeSecret(t, webhook.Namespace, "hook", func(s *corev1.Secret) {
					s.Annotations = map[string]string{v1alpha1.AnnotationAllowURLSecret: "true"}
				})
			},
		},
		"URLNotAllowed": {
			condition: "ReceiverReady",
			object:    func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = "http://elsewhere.invalid/mandrill/another/one" },
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				edit(t, webhook, func() { webhook.Spec.URL = "" })
			},
		},
		"URLConflict": {
			condition: "ReceiverReady",
			object:    func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = "http://shared.invalid/" + o.Namespace },
			prepare: func(t *testing.T, namespace string) {
				t.Helper()
				create(t, &v1alpha1.MandrillWebhook{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "first"},
					Spec: v1alpha1.MandrillWebhookSpec{
						URL: "http://shared.invalid/" + namespace, Events: []v1alpha1.EventName{"spam"},
						APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: i.consumer.URL},
					},
				})
			},
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				first := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "first"}}
				if err := admin.Delete(t.Context(), first); err != nil {
					t.Fatal(err)
				}
			},
			recovered: isNotServed,
		},
		"AdoptionRefused": {
			condition: "Registered",
			object:    func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionRefuse },
			prepare:   i.addByHand,
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				edit(t, webhook, func() { webhook.Spec.AdoptionPolicy = v1alpha1.AdoptionAdopt })
			},
		},
		"APIKeyMissing": {
			condition: "Registered",
			object:    func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "empty" },
			prepare:   func(t *testing.T, namespace string) { t.Helper(); create(t, secretOf(namespace, "empty", nil)) },
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				changeSecret(t, webhook.Namespace, "empty", func(s *corev1.Secret) { s.StringData = map[string]string{"api-key": lifecycleKey} })
			},
		},
		"InvalidAPIKey": {
			condition: "Registered",
			object:    func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "wrong" },
			prepare: func(t *testing.T, namespace string) {
				t.Helper()
				create(t, secretOf(namespace, "wrong", map[string]string{"api-key": "md-revoked"}))
			},
			remedy: func(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
				t.Helper()
				changeSecret(t, webhook.Namespace, "wrong", func(s *corev1.Secret) { s.StringData = map[string]string{"api-key": lifecycleKey} })
			},
		},
		"SecretConflict": {
			condition: "SigningKeyStored", prepare: foreignSecret("transactional-signing-key"), remedy: deleteSecret("transactional-signing-key"),
		},
		"SecretConflict of a sidecar": {
			condition: "ReceiverReady", prepare: foreignSecret("transactional-receiver"), remedy: deleteSecret("transactional-receiver"),
			object: func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Receiver, o.Spec.URL = v1alpha1.ReceiverSidecar, "http://sidecar.invalid/"+o.Namespace
			},
			recovered: isNotServed,
		},
	}
}

// addByHand adds a webhook at the URL that the object of a namespace will have.
func (i *installation) addByHand(t *testing.T, namespace string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,"url":%q,"events":["reject"]}`, lifecycleKey, server.URL))
	response := httptest.NewRecorder()
	i.emulator.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/add", body))
	var webhook mandrill.Webhook
	if err := json.Unmarshal(response.Body.Bytes(), &webhook); err != nil || webhook.ID == 0 {
		t.Fatalf("%s, %v", response.Body, err)
	}
	i.account.Edit(webhook.ID, func(spec *mandrill.WebhookSpec) { spec.URL = i.publicURL + "/" + namespace + "/transactional" })
	began, lists := time.Now(), i.lists()
	eventually(t, "no view without the webhook is used", func() error { // the first list may be in flight
		if i.lists() < lists+2 && time.Since(began) < 11*time.Second {
			return errors.New("the account was not listed")
		}
		return nil
	})
}

// lists is how many lists of webhooks there were.
func (i *installation) lists() int {
	return strings.Count(strings.Join(i.emulator.Calls(), " "), "webhooks/list")
}

// isNotServed waits until the object has come to the probe of its URL, which leads nowhere.
func isNotServed(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
	t.Helper()
	await(t, webhook, "ReceiverReady", "False", v1alpha1.ReasonRouteNotServed)
}

// remediesElsewhere are the reasons of Stalled whose remedy no watch of the cluster can see. Tests of the reconciler check
// that their objects are looked at again.
var remediesElsewhere = map[string]string{
	"Contested":            "at another installation or cluster, which TestTwoOperatorsWithOneObjectGiveWay removes",
	"Refused":              "at Mandrill",
	"InboundRouteConflict": "at Mandrill",
	"QuotaExceeded":        "room that other objects leave, or a flag of the operator",
	"RoutesFull":           "room that other objects leave",
	"SinkUnsupported":      "flags of both programs, or an address that a sink publishes, which is watched as any",
	"URLChanged":           "the spec, or at Mandrill",
	"URLMissing":           "a flag of the operator, or the spec",
}

// A stalled object goes on by itself once the remedy that its message names is applied, also to another object.
func (i *installation) testStalledObjectsRecover(t *testing.T) {
	cases := i.recoveries()
	for _, reason := range stalledReasons(t) {
		if _, ok := cases[reason]; !ok && remediesElsewhere[reason] == "" {
			t.Errorf("there is no case for the reason %s", reason)
		}
	}
	for name, test := range cases {
		reason, _, _ := strings.Cut(name, " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
				if test.object != nil {
					test.object(o)
				}
				if test.prepare != nil {
					test.prepare(t, o.Namespace)
				}
			})
			await(t, webhook, test.condition, "False", reason)
			if got := condition(webhook, "Stalled"); got.Status != metav1.ConditionTrue || got.Reason != reason {
				t.Errorf("the object is not stalled: %+v", webhook.Status.Conditions)
			}
			if test.remedy(t, webhook); test.recovered != nil {
				test.recovered(t, webhook)
				return
			}
			await(t, webhook, "Ready", "True", "Succeeded")
		})
	}
}

// stalledReasons returns the reasons that the code gives to Stalled.
func stalledReasons(t *testing.T) []string {
	t.Helper()
	var reasons []string
	err := filepath.WalkDir("../../controllers", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			function, ok := call.Fun.(*ast.SelectorExpr)
			reason, named := call.Args[0].(*ast.SelectorExpr)
			if ok && named && strings.HasPrefix(function.Sel.Name, "Stalled") {
				reasons = append(reasons, strings.TrimPrefix(reason.Sel.Name, "Reason"))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(reasons) < 20 {
		t.Fatalf("only %d stalled steps were found", len(reasons))
	}
	return reasons
}
