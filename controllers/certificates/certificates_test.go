package certificates

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

type objects []*v1alpha1.MandrillWebhook

func (o objects) All() []*v1alpha1.MandrillWebhook { return o }

func object(name, url string) *v1alpha1.MandrillWebhook {
	o := &v1alpha1.MandrillWebhook{}
	o.Namespace, o.Name, o.Status.URL = "shop", name, url
	return o
}

func TestExpiryOfThePublicURLAndOfOthers(t *testing.T) {
	t.Parallel()
	public, other := httptest.NewTLSServer(http.NotFoundHandler()), httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(public.Close)
	t.Cleanup(other.Close)
	public.Config.ErrorLog, other.Config.ErrorLog = nil, nil
	expiries := &Expiries{}
	collector := Collector{
		Expiries: expiries, PublicURL: public.URL + "/mandrill", Handles: func(o *v1alpha1.MandrillWebhook) bool { return o.Name != "foreign" },
		Objects: objects{object("below", public.URL+"/mandrill/x"), object("own", other.URL+"/x"), object("foreign", other.URL), object("plain", "http://x"), object("none", "")},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	if got, err := testutil.GatherAndCount(registry); err != nil || got != 0 {
		t.Errorf("before anything was seen: %d metrics, error %v", got, err)
	}
	Watch{Expiries: expiries, PublicURL: collector.PublicURL}.ask(t.Context())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, other.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loopback.Client.Do(request)
	expiries.Observe(request.URL.Host, nil, fmt.Errorf("probing: %w", err))
	want := fmt.Sprintf(`# HELP mandrill_operator_certificate_expiry_timestamp_seconds When the certificate expires that a webhook's URL presents to the operator; without a webhook, that of the installation's public URL.
# TYPE mandrill_operator_certificate_expiry_timestamp_seconds gauge
mandrill_operator_certificate_expiry_timestamp_seconds{webhook=""} %d
mandrill_operator_certificate_expiry_timestamp_seconds{webhook="shop/own"} %d
`, public.Certificate().NotAfter.Unix(), other.Certificate().NotAfter.Unix())
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// A public URL that is not reached, or is plain HTTP, has no metric.
func TestUnreachableHostsAreAbsent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, address := range []string{"", "http://hooks.example.com", "https://127.0.0.1:1", "https://[::1", "%"} {
		expiries := &Expiries{}
		Watch{Expiries: expiries, PublicURL: address}.ask(ctx)
		if len(expiries.hosts) > 0 {
			t.Errorf("%q: %v", address, expiries.hosts)
		}
	}
}

func TestHostsAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	expiries := &Expiries{}
	for i := range maxHosts + 100 {
		expiries.Observe(fmt.Sprint("host", i), response.TLS, nil)
	}
	if len(expiries.hosts) > maxHosts {
		t.Errorf("%d hosts", len(expiries.hosts))
	}
}
