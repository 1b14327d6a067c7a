package doctor

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// patient is a doctor for a webhook, in a cluster with some objects.
func patient(t *testing.T, webhook *v1alpha1.MandrillWebhook, objects ...client.Object) *doctor {
	t.Helper()
	scheme, err := access.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	webhook.Namespace, webhook.Name = "shop", "a"
	webhook.Spec.APIKeySecretRef.Name = "mandrill"
	return &doctor{
		env: &access.Env{Now: func() time.Time { return noon }}, webhook: webhook,
		cluster: &access.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Namespace: "shop"},
	}
}

// want fails unless the findings are one with a level, texts and a remedy.
func want(t *testing.T, found []Finding, level Level, text, do string) {
	t.Helper()
	if len(found) != 1 || found[0].Level != level || !strings.Contains(found[0].Text, text) || !strings.Contains(found[0].Do, do) {
		t.Errorf("got %+v, want %s with %q and %q", found, level, text, do)
	}
}

func condition(name string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: name, Status: status, Reason: reason, Message: message}
}

// A key that works, of an account that does not have the webhook: the account is named, without a mail address.
func TestKeyOfAnAccountWithoutTheWebhookIsNamed(t *testing.T) {
	t.Parallel()
	server := mandrilltest.New(mandrilltest.Options{APIKeys: []string{"md-of-the-shop", "md-of-others"}})
	t.Cleanup(server.Close)
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	d := patient(t, &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{WebhookID: 4711}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}, Data: map[string][]byte{"api-key": []byte("md-of-others\n")}})
	d.env.Flags.MandrillAPI = api.URL + "/api/1.0"
	want(t, d.account(t.Context()), OK, "the API key works: account o…@shop.example (public ID aaabbbccc112234), reputation", "")
	want(t, d.registration(t.Context()), Fail, "the API key works, but its account, o…@shop.example (public ID aaabbbccc112234), has no webhook 4711, which status.webhookID names",
		"If mail is sent with another account, put its API key into the Secret mandrill.")
}

// A Secret that is missing, or lacks its key, leads to the command that makes it.
func TestMissingAPIKeyLeadsToTheCommand(t *testing.T) {
	t.Parallel()
	want(t, patient(t, &v1alpha1.MandrillWebhook{}).account(t.Context()), Fail, "Secret shop/mandrill does not exist", "Create it: kubectl create secret generic mandrill -n shop --from-literal=api-key=YOUR-API-KEY")
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}}
	want(t, patient(t, &v1alpha1.MandrillWebhook{}, empty).account(t.Context()), Fail, "the Secret shop/mandrill has no api-key", `Write the API key into it: kubectl patch secret mandrill -n shop -p '{"stringData"`)
}

// The object is not said to be in order while a condition is not.
func TestObjectIsNotOKWhileAConditionIsFalse(t *testing.T) {
	t.Parallel()
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	object := func(more ...metav1.Condition) []Finding {
		webhook := &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{Conditions: append(more, ready)}}
		return patient(t, webhook).object(t.Context())
	}
	want(t, object(), OK, "the operator says that the object is ready", "")
	want(t, object(condition(v1alpha1.ConditionDelivered, metav1.ConditionUnknown, v1alpha1.ReasonNothingSent, "")), OK, "ready", "")
	want(t, object(condition(v1alpha1.ConditionURLExclusive, metav1.ConditionFalse, v1alpha1.ReasonOtherWebhooks, "")), Warn,
		"ready, but not all is in order: URLExclusive (OtherWebhooks)", "kubectl mandrill status a -n shop says what each means")
}

// A sink is named by host and port in each sentence about it, whatever its state.
func TestSinkIsNamed(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(noon.Add(-90 * time.Second))
	failing := &v1alpha1.DeliveryStatus{LastFailure: &v1alpha1.DeliveryFailure{Reason: "Timeout", At: at}}
	for name, test := range map[string]struct {
		condition metav1.Condition
		delivery  *v1alpha1.DeliveryStatus
		level     Level
		text, do  string
	}{
		"hangs": {condition(v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonSinkFailing, "The sink has accepted nothing since 2026-11-29T11:58:00Z: it does not answer in time; "+
			"find out why it is slow, or raise spec.delivery.timeout. Events wait in the buffer"), failing, Fail,
			"SinkFailing: The sink consumer.shop.svc:80 has accepted nothing since 2026-11-29T11:58:00Z: it does not answer in time; find out why it is slow", "Repair the sink"},
		"has just begun to hang": {condition(v1alpha1.ConditionDelivered, metav1.ConditionUnknown, v1alpha1.ReasonNothingSent, ""), failing, Warn,
			"the sink consumer.shop.svc:80 has not accepted an event yet; an attempt failed 90s ago: it did not answer in time", "run the command again"},
		"accepts again": {condition(v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, ""), failing, OK,
			"the sink consumer.shop.svc:80 accepted events; an attempt failed 90s ago: it did not answer in time", ""},
		"was sent nothing": {condition(v1alpha1.ConditionDelivered, metav1.ConditionUnknown, v1alpha1.ReasonNothingSent, ""), nil, Warn,
			"nothing was sent to the sink consumer.shop.svc:80 yet", "kubectl mandrill test a -n shop sends a test event"},
		"is reported by nobody": {condition(v1alpha1.ConditionDelivered, metav1.ConditionUnknown, v1alpha1.ReasonNoReports, "No receiver reports"), nil, Warn, "NoReports: No receiver reports", "Check that a receiver runs"},
	} {
		webhook := &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{
			SinkURI: "http://user:secret@consumer.shop.svc/secret", Conditions: []metav1.Condition{test.condition}, Delivery: test.delivery,
		}}
		found := patient(t, webhook).sink(t.Context())
		want(t, found, test.level, test.text, test.do)
		if strings.Contains(found[0].Text, "secret") {
			t.Errorf("%s: %s", name, found[0].Text)
		}
	}
}

// Before the registration, the URL that the webhook will have is walked, or it is said why it has none.
func TestURLBeforeTheRegistration(t *testing.T) {
	t.Parallel()
	operator := func(args ...string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "o", Labels: map[string]string{"app.kubernetes.io/component": "operator"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "operator", Args: args}}},
		}
	}
	d := patient(t, &v1alpha1.MandrillWebhook{}, operator("--public-url=https://hooks.example/m"))
	d.readSecret(t.Context())
	if text := d.willHave(); d.url != "https://hooks.example/m/shop/a" || text != "its URL will be https://hooks.example/m/shop/a, by --public-url of the operator system/o" {
		t.Errorf("%s: %s", d.url, text)
	}
	d = patient(t, &v1alpha1.MandrillWebhook{Spec: v1alpha1.MandrillWebhookSpec{URL: "https://u:p@h.example/x"}})
	d.readSecret(t.Context())
	if text := d.willHave(); text != "its URL will be https://hidden@h.example/x, by spec.url" {
		t.Error(text)
	}
	d = patient(t, &v1alpha1.MandrillWebhook{}, operator())
	d.readSecret(t.Context())
	want(t, d.dns(t.Context()), Skip, "not checked: spec.url is empty, and the operator system/o runs without --public-url: set one of them", "")
	d = patient(t, &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{WebhookID: 7, URL: "https://h.example/x?t=hidden"}})
	d.readSecret(t.Context())
	want(t, d.dns(t.Context()), Skip, "has a part that is secret, and is read from the Secret a-signing-key", "")
}

// A host that is an address is no name to resolve.
func TestHostThatIsAnAddress(t *testing.T) {
	t.Parallel()
	for target, test := range map[string]struct {
		level Level
		text  string
	}{
		"http://8.8.8.8/x":        {OK, "the host of the URL is the address 8.8.8.8: there is no name to resolve"},
		"http://10.1.2.3:8080/x":  {Warn, "the host of the URL is 10.1.2.3, an address that Mandrill cannot reach"},
		"http://[::1]/x":          {Warn, "the host of the URL is ::1, an address"},
		"http://[2001:db8::1]:1/": {OK, "the address 2001:db8::1"},
	} {
		d := patient(t, &v1alpha1.MandrillWebhook{})
		d.url = target
		if _, err := url.Parse(target); err != nil {
			t.Fatal(err)
		}
		want(t, d.dns(t.Context()), test.level, test.text, "")
	}
}

// Other webhooks at the URL are described, so that people find out whose they are. Their keys are not shown.
func TestOtherWebhooksAreDescribed(t *testing.T) {
	t.Parallel()
	const target = "https://h.example/x"
	own := mandrill.Webhook{ID: 1, URL: target}
	d := patient(t, &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{WebhookID: 1}})
	d.listed, d.remote, d.url = []mandrill.Webhook{own, {ID: 2, URL: "https://h.example/other"}}, &own, target
	want(t, d.exclusive(t.Context()), OK, "no other webhook of the account has the URL", "")
	d.listed = append(d.listed, mandrill.Webhook{
		ID: 3, URL: target, Description: "Old shop", AuthKey: "secret", Events: []string{"send", "open"}, BatchesSent: 12,
		CreatedAt: mandrill.Time{Time: noon.Add(-48 * time.Hour)}, LastSentAt: mandrill.Time{Time: noon.Add(-3 * time.Minute)},
	})
	want(t, d.exclusive(t.Context()), Fail, `the account has another webhook at the same URL: webhook 3 "Old shop", made on 2026-11-27, events send open, 12 batches sent, the last 3m ago`, "Delete webhook 3 in Mandrill")
	d.webhook.Status.WebhookID, d.remote, d.listed = 0, nil, []mandrill.Webhook{{ID: 4, URL: target}}
	want(t, d.exclusive(t.Context()), Warn, "the account has a webhook at the URL already: webhook 4, no events, because Mandrill has disabled it, nothing sent yet", "The operator takes it over")
	d.listed = nil
	d.webhook.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionURLExclusive, metav1.ConditionFalse, v1alpha1.ReasonOtherReceiver, "The URL leads to another receiver")}
	want(t, d.exclusive(t.Context()), Fail, "OtherReceiver: The URL leads to another receiver", "Let only one of them have it.")
}

// A webhook that is enabled again at Mandrill, before the operator has seen it.
func TestEnabledWebhookIsNotSaidToBeDisabled(t *testing.T) {
	t.Parallel()
	d := patient(t, &v1alpha1.MandrillWebhook{Status: v1alpha1.MandrillWebhookStatus{Conditions: []metav1.Condition{
		condition(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonDisabled, "Mandrill has disabled the webhook"),
	}}})
	d.remote = &mandrill.Webhook{ID: 1, Events: []string{"send"}}
	want(t, d.compare(), Warn, "enabled again; status says Disabled until the operator lists the account again", "within the operator's --resync-interval")
	d.remote.Events = nil
	want(t, d.compare(), Fail, "Mandrill has disabled the webhook: it sends no events", "Repair what makes the batches fail")
}
