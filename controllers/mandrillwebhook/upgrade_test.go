package mandrillwebhook_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// createEarlier puts into the cluster what an earlier build left there, for a webhook that Mandrill has.
func (f *fixture) createFromEarlierBuild(path string) {
	f.t.Helper()
	f.callAPI("webhooks/add", fmt.Sprintf(`"url":%q,"description":"Shop mail events","events":["open","send","whitelist"]`, f.receiver.URL+"/mandrill/shop/transactional"))
	hook := f.account.Webhooks()[0]
	data, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	text := strings.NewReplacer("RECEIVER", f.receiver.URL, "KEY", hook.AuthKey, "webhookID: ID", fmt.Sprint("webhookID: ", hook.ID)).Replace(string(data))
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := client.Object(&corev1.Secret{})
		if strings.Contains(document, "kind: MandrillWebhook\nmetadata") {
			object = &v1alpha1.MandrillWebhook{}
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			f.t.Fatal(err)
		}
		if secret, ok := object.(*corev1.Secret); ok { // as an API server does
			secret.Data = map[string][]byte{}
			for key, value := range secret.StringData {
				secret.Data[key] = []byte(value)
			}
			secret.StringData = nil
		}
		f.create(object)
	}
}

// An operator continues with the state that an earlier build left: it registers nothing, and changes no key and no URL.
func TestUpgradeChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	served := f.receiver.Config.Handler
	f.receiver.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) // for Mandrill, which asks first
	f.createFromEarlierBuild("testdata/first-build.yaml")
	f.receiver.Config.Handler = served

	before, calls := f.get(), len(f.emulator.Calls())
	writes := []string{}
	f.fault = func(verb string, _ client.Object) error {
		if verb != "get" {
			writes = append(writes, verb)
		}
		return nil
	}
	after := f.mustReconcile()
	if made := f.emulator.Calls()[calls:]; !slices.Equal(made, []string{"webhooks/list"}) {
		t.Errorf("the calls to Mandrill are %v, want one list", made)
	}
	if !slices.Equal(writes, []string{"apply", "patch status"}) {
		t.Errorf("the writes are %v, want that of the routes, which name the object now, and that of the status, which says more now", writes)
	}
	if after.Status.WebhookID != before.Status.WebhookID || after.Status.URL != before.Status.URL || !slices.Equal(after.Status.CloudEventAttributes, before.Status.CloudEventAttributes) {
		t.Errorf("the status was %+v and is %+v", before.Status, after.Status)
	}
	for i, condition := range before.Status.Conditions {
		now := after.Status.Conditions[i]
		if now.Message == "" {
			t.Errorf("%s has no message", condition.Type)
		}
		if condition.Message = now.Message; condition.Type != "Delivering" && now != condition {
			t.Errorf("%s was %+v and is %+v", condition.Type, condition, now)
		}
	}
	f.assert("EventsAccepted", "True", "Succeeded", "")
	if events := f.events(); len(events) > 0 {
		t.Errorf("Events are %q", events)
	}
	hook := f.account.Webhooks()[0]
	if got := f.post(hook.URL, hook.AuthKey); got != http.StatusOK {
		t.Errorf("the receiver answers %d", got)
	}
	writes = nil
	f.hourLater().mustReconcile()
	if len(writes) > 0 {
		t.Errorf("a second reconcile writes %v", writes)
	}
}
