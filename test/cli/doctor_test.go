package cli_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/doctor"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Each fault on the way is found by doctor, at the hop where it is, and nothing is sent to the sink.
func TestDoctorFindsPlantedFaults(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	examine := func(args ...string) (findings []doctor.Finding, failed []string) {
		t.Helper()
		r := s.run(webhook.Namespace, append([]string{"doctor", webhook.Name, "-o", "json"}, args...)...)
		findings = decodeJSON[[]doctor.Finding](t, r.out)
		for _, finding := range findings {
			if finding.Level == doctor.Fail {
				failed = append(failed, finding.Check)
			}
		}
		if (r.status == output.StatusProblems) != (len(failed) > 0) || len(failed) == 0 && r.status != output.StatusOK {
			t.Errorf("status %d with failures %v: %s", r.status, failed, r.err)
		}
		return findings, slices.Compact(failed)
	}
	findings, failed := examine()
	if len(failed) > 0 || len(findings) < len("object account dns")/3 {
		t.Fatalf("without a fault: %+v", findings)
	}
	if _, err := s.account.Emit("send", "open"); err != nil {
		t.Fatal(err)
	}
	s.eventually("both events are counted", func() error {
		if r := s.run(webhook.Namespace, "doctor", webhook.Name, "--skip-large"); !strings.Contains(r.out, "a receiver received") {
			return errors.New(r.out)
		}
		return nil
	})
	s.documented("doctor", webhook.Namespace, "kubectl mandrill doctor transactional -n shop", s.run(webhook.Namespace, "doctor", webhook.Name))
	s.events.Store(0)
	if s.events.Load() > 0 {
		t.Error("the sink got an event")
	}

	break_ := func(fault func(w http.ResponseWriter, r *http.Request) bool) { s.broken.Store(&fault) }
	for _, test := range []struct {
		name  string
		fault func(w http.ResponseWriter, r *http.Request) bool
		check string
		text  string
	}{
		{"413AtTheIngress", func(w http.ResponseWriter, r *http.Request) bool {
			if r.ContentLength <= 1<<20 {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}, "body", "413"},
		{"StrippedPath", func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/mandrill")
			return false
		}, "signed", "the receiver does not know the path"},
		{"AnotherServer", func(http.ResponseWriter, *http.Request) bool { return true }, "signed", "not a receiver"},
		{"Login", func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, "head", "401"},
		{"Redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusMovedPermanently)
			return true
		}, "head", "redirect"},
	} {
		break_(test.fault)
		findings, failed := examine("--public")
		if !slices.Contains(failed, test.check) || !slices.ContainsFunc(findings, func(f doctor.Finding) bool {
			return f.Check == test.check && strings.Contains(f.Text, test.text) && f.Do != ""
		}) {
			t.Errorf("%s: got %v in %+v", test.name, failed, findings)
		}
	}
	for name, test := range map[string]struct {
		header http.Header
		text   string
	}{
		"a proxy answers HEAD": {nil, "not as a receiver"},
		"a cache answers HEAD": {http.Header{routes.ObjectHeader: {routes.ObjectID(string(webhook.UID))}, routes.NonceHeader: {"of an earlier request"}}, "by a cache"},
		"of another object":    {http.Header{routes.ObjectHeader: {"another"}}, "the receiver of another object answers"},
	} {
		break_(func(w http.ResponseWriter, r *http.Request) bool {
			maps.Copy(w.Header(), test.header)
			return r.Method == http.MethodHead
		})
		findings, _ := examine("--public", "--skip-large")
		if !slices.ContainsFunc(findings, func(f doctor.Finding) bool {
			return f.Check == "head" && f.Level != doctor.OK && strings.Contains(f.Text, test.text) && f.Do != ""
		}) {
			t.Errorf("%s: got %+v", name, findings)
		}
	}
	break_(func(http.ResponseWriter, *http.Request) bool { return false })

	api, err := mandrill.NewClient(mandrill.ClientOptions{Key: apiKey, BaseURL: s.api.URL + "/api/1.0"})
	if err != nil {
		t.Fatal(err)
	}
	webhooks, err := api.Webhooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := api.AddWebhook(t.Context(), mandrill.WebhookSpec{URL: webhooks[0].URL, Events: []string{"send"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, failed := examine("--skip-large"); !slices.Contains(failed, "exclusive") {
		t.Errorf("a second webhook at the URL: got %v", failed)
	}
	if _, err := api.DeleteWebhook(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	s.account.Revoke(true)
	if _, failed := examine("--skip-large"); !slices.Contains(failed, "account") {
		t.Errorf("a wrong API key: got %v", failed)
	}
	s.account.Revoke(false)

	// An ingress that strips the path keeps the webhook from being registered at all.
	break_(func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/mandrill")
		return false
	})
	fresh := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "fresh"}, Spec: *webhook.Spec.DeepCopy()}
	fresh.Spec.URL = strings.TrimSuffix(webhook.Status.URL, webhook.Name) + fresh.Name
	s.create(fresh)
	r := s.run(fresh.Namespace, "doctor", fresh.Name, "--skip-large")
	for _, want := range []string{"fail  registration  the webhook is not registered", "fail  head          HEAD is answered with 404", "skip  signed        not checked: it needs the signing key"} {
		if !strings.Contains(r.out, want) || r.status != output.StatusProblems {
			t.Errorf("an object that is not registered: status %d, no %q in\n%s%s", r.status, want, r.out, r.err)
		}
	}
}
