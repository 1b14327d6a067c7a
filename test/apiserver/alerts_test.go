package apiserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/alerts"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/events"
)

// newAlerter returns what sends alerts, as the operator's program makes it.
func newAlerter(operator mandrillwebhook.Options, objects *delivery.Objects, running *operating) *alerts.Alerter {
	names := sinks.Names{ClusterDomain: "cluster.local", Receiver: routesSecret.Namespace}
	resolver := sinks.New(sinks.Options{
		Client: operator.Client, Names: names, AllowCrossNamespace: operator.AllowCrossNamespaceSinks, AllowHosts: operator.AllowSinkHosts,
	}, sinks.NewWatches(operator.Client, names))
	return alerts.New(alerts.Options{
		Resolve: resolver.ResolveAlerts, Get: objects.Get, Registerer: running.registry, AllowHosts: operator.AllowSinkHosts, Now: running.now,
	})
}

// startAlertSink starts a consumer of alerts.
func startAlertSink(t *testing.T) *consumer {
	t.Helper()
	c := &consumer{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// alerted waits until a sink has got exactly these alerts about an object.
func (c *consumer) alerted(t *testing.T, webhook *v1alpha1.MandrillWebhook, want ...string) {
	t.Helper()
	eventually(t, "alerts", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var got []string
		for _, event := range c.events {
			if event.Subject() == webhook.Namespace+"/"+webhook.Name {
				got = append(got, strings.TrimPrefix(event.Type(), events.PrefixAlert))
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("the alert sink got %q, want %q", got, want)
		}
		return nil
	})
}

// What holds for addresses of sinks holds for those of alert sinks, also of a Sidecar, and an object says so before it has an alert.
func TestAlertSinksAreChecked(t *testing.T) {
	i, _ := installVisible(t)
	other := newNamespace(t)
	create(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "pager"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	})
	pager := &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "pager"}
	with := func(to v1alpha1.Destination, change ...func(*v1alpha1.MandrillWebhook)) *v1alpha1.MandrillWebhook {
		return i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
			o.Spec.AlertSink = &to
			for _, c := range change {
				c(o)
			}
		})
	}
	sidecar := func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Receiver, o.Spec.URL = v1alpha1.ReceiverSidecar, "http://sidecar.invalid/"+o.Namespace
	}
	for what, test := range map[string]struct {
		webhook *v1alpha1.MandrillWebhook
		reason  string
	}{
		"another namespace, by URI": {with(v1alpha1.Destination{URI: "http://pager." + other + ".svc"}), v1alpha1.ReasonSinkNotAllowed},
		"another namespace, by reference": {with(v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "pager", Namespace: other}}),
			v1alpha1.ReasonSinkNotAllowed},
		"metadata service":       {with(v1alpha1.Destination{URI: "http://169.254.169.254/latest"}), v1alpha1.ReasonSinkNotAllowed},
		"loopback":               {with(v1alpha1.Destination{URI: "http://localhost:8080"}), v1alpha1.ReasonSinkNotAllowed},
		"loopback, of a Sidecar": {with(v1alpha1.Destination{URI: "http://localhost:8080"}, sidecar), v1alpha1.ReasonSinkNotAllowed},
		"no Service":             {with(v1alpha1.Destination{Ref: pager}), v1alpha1.ReasonSinkNotFound},
	} {
		await(t, test.webhook, v1alpha1.ConditionAlertSinkReady, "False", test.reason)
		assertNote(t, test.webhook.Namespace, test.reason, "spec.alertSink: ")
		if got := condition(test.webhook, v1alpha1.ConditionStalled); got.Status == metav1.ConditionTrue {
			t.Errorf("%s: the object is stalled: %s", what, got.Message)
		}
	}
	good := with(v1alpha1.Destination{URI: i.consumer.URL})
	await(t, good, v1alpha1.ConditionAlertSinkReady, "True", v1alpha1.ReasonSucceeded)
	await(t, good, "Ready", "True", v1alpha1.ReasonSucceeded)
	edit(t, good, func() { good.Spec.AlertSink = nil })
	eventually(t, "the condition is gone", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(good), good); err != nil {
			return err
		}
		if got := condition(good, v1alpha1.ConditionAlertSinkReady); got.Status != "" {
			return fmt.Errorf("the condition is %+v", got)
		}
		return nil
	})
}

// An alert sink that is down is shown, and delays neither delivery nor the status.
func TestAnAlertSinkThatIsDownIsShown(t *testing.T) {
	i, operator := installVisible(t)
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(down.Close)
	webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) { o.Spec.AlertSink = &v1alpha1.Destination{URI: down.URL} })
	name := webhook.Namespace + "/" + webhook.Name
	await(t, webhook, "Ready", "True", "Succeeded")
	receiver := &reporting{operator: operator, token: podToken(t, routesSecret.Namespace, "mandrill-receiver", "mandrill-receiver-0", reports.Audience)}
	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), FailingFor: ago(0), Failure: &reports.Failure{Reason: reports.ReasonTimeout}})
	background(t, "receiver that reports", receiver.run)
	await(t, webhook, "Delivered", "False", v1alpha1.ReasonSinkFailing)
	eventually(t, "an alert that failed", func() error {
		if operator.value(t, "mandrill_operator_alerts_total", map[string]string{"outcome": "failed"}) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	operator.ahead.Add(int64(2 * time.Minute))
	await(t, webhook, v1alpha1.ConditionAlertSinkReady, "False", v1alpha1.ReasonAlertsFailing)
	assertNote(t, webhook.Namespace, v1alpha1.ReasonAlertsFailing, "it answers with status 503")
}
