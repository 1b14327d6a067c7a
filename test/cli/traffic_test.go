package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/traffic"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

const sentinel = "ana.sentinel@customer.example"

// eventsPods prints recent events as receiver events does.
type eventsPods struct {
	localPods
	events func() []traffic.Event
}

func (p eventsPods) Run(ctx context.Context, receiver access.Receiver, command []string, stdin io.Reader, stdout io.Writer) error {
	if len(command) < 2 || command[1] != "events" {
		return p.localPods.Run(ctx, receiver, command, stdin, stdout)
	}
	for _, event := range p.events() {
		data, err := json.Marshal(event)
		if err != nil {
			return err
		}
		if !strings.Contains(strings.Join(command, " "), "--payload") {
			event.Event = nil
		}
		if _, err := fmt.Fprintf(stdout, "%s\n", data); err != nil {
			return err
		}
	}
	if strings.Contains(strings.Join(command, " "), "--follow") {
		<-ctx.Done()
	}
	return ctx.Err()
}

func recent() []traffic.Event {
	base := traffic.Event{
		Time: time.Now().Add(time.Hour), Webhook: "shop/a", ID: "1", Type: "com.mandrill.message.hard_bounce", Recipient: sentinel, Message: "m1", Attempt: 2,
		Outcome: "refused", Status: 400, Event: []byte(`{"specversion":"1.0","id":"1"}`),
	}
	second := base
	second.ID, second.Type, second.Outcome, second.Status = "2", "com.mandrill.message.send", "accepted", 202
	return []traffic.Event{base, second}
}

// tail shows neither an address nor a payload unless it is told to.
func TestTailShowsNoAddress(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	pods := eventsPods{localPods{health: s.health}, recent}
	for args, test := range map[string]struct {
		has, lacks []string
	}{
		"":                        {[]string{"a…@customer.example", "hard_bounce", "refused 400", "accepted 202"}, []string{sentinel, "specversion"}},
		"-o json":                 {[]string{"a…@customer.example"}, []string{sentinel, "specversion"}},
		"--show-addresses":        {[]string{sentinel}, []string{"specversion"}},
		"--type send":             {[]string{"accepted 202"}, []string{"refused"}},
		"--failed":                {[]string{"refused 400"}, []string{"accepted"}},
		"--recipient b@x.example": {nil, []string{"refused", "accepted"}},
	} {
		r := s.runWith(webhook.Namespace, pods, "", append([]string{"tail", webhook.Name, "--follow=false"}, strings.Fields(args)...)...)
		if r.status != output.StatusOK {
			t.Errorf("%s: %+v", args, r)
		}
		for _, text := range test.has {
			if !strings.Contains(r.out, text) {
				t.Errorf("tail %s lacks %q:\n%s", args, text, r.out)
			}
		}
		for _, text := range test.lacks {
			if strings.Contains(r.out, text) {
				t.Errorf("tail %s has %q:\n%s", args, text, r.out)
			}
		}
	}
}

// listen sends a copy of each event once, and says what does not arrive.
func TestListenForwards(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	got := make(chan string, 10)
	laptop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Content-Type") + " " + string(body)
	}))
	defer laptop.Close()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var out, errOut logbuffer.Buffer
	env := s.env(webhook.Namespace, &out, &errOut, eventsPods{localPods{health: s.health}, recent})
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, env, []string{"listen", webhook.Name, "--forward-to", laptop.URL})
	}()
	for range 2 {
		if text := <-got; !strings.HasPrefix(text, "application/cloudevents+json {") {
			t.Errorf("got %s", text)
		}
	}
	stop()
	if status := <-done; status != output.StatusOK {
		t.Errorf("status %d: %s", status, errOut.String())
	}
}

// test sends marked events to the sink, through the public URL.
func TestTestReachesTheSink(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	s.documented("test", webhook.Namespace, "kubectl mandrill test transactional send -n shop", s.run(webhook.Namespace, "test", webhook.Name, "send", "--timeout", "1m"))
	r := s.run(webhook.Namespace, "test", webhook.Name, "send", "hard_bounce", "--to", "ana@shop.example", "--tag", "shipping", "--metadata", "order_id=7", "--timeout", "1m")
	if r.status != output.StatusOK || !strings.Contains(r.out, "200") {
		t.Fatalf("%+v", r)
	}
	s.eventually("the sink has all", func() error {
		if n := s.events.Load(); n != 3 {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
	if marked := s.marked.Load(); marked != 3 {
		t.Errorf("%d events are marked as tests", marked)
	}
	// With receivers that say what became of events, the sink's answer is shown.
	for len(s.subjects) > 0 {
		<-s.subjects
	}
	pods := eventsPods{localPods{health: s.health}, func() []traffic.Event {
		return []traffic.Event{{Time: time.Now(), Type: "com.mandrill.message.open", Message: <-s.subjects, Attempt: 1, Outcome: "accepted", Status: 202, Test: true}}
	}}
	r = s.runWith(webhook.Namespace, pods, "", "test", webhook.Name, "open", "-o", "json", "--timeout", "1m")
	if results := decodeJSON[[]traffic.Result](t, r.out); r.status != output.StatusOK || results[0].Outcome != "accepted" || results[0].Status != 202 || results[0].Receiver != "200" {
		t.Errorf("with the sink's answer: %+v", r)
	}
	if r := s.run(webhook.Namespace, "test", webhook.Name, "hard_bunce"); !strings.Contains(r.err, "did you mean hard_bounce?") {
		t.Errorf("a mistyped kind: %+v", r)
	}
	refuse := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	s.broken.Store(&refuse)
	if r := s.run(webhook.Namespace, "test", webhook.Name); r.status != output.StatusProblems || !strings.Contains(r.err, "kubectl mandrill doctor") {
		t.Errorf("refused: %+v", r)
	}
}

// The bundle has neither secrets nor addresses, wherever they are planted.
func TestBundleLeaksNothing(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook(func(w *v1alpha1.MandrillWebhook) {
		w.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "sentinel-annotation"}
		w.Spec.Description = "reported by " + sentinel
		w.Spec.Sink.URI += "?token=sentinel-sink-token"
	})
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	r := s.run(webhook.Namespace, "support-bundle", "-f", path)
	if r.status != output.StatusOK {
		t.Fatalf("%+v", r)
	}
	files := unpack(t, path)
	for _, name := range []string{"webhooks.yaml", "status.yaml", "events.txt", "version.txt", "missing.txt"} {
		if _, ok := files[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
	key, err := (&access.Cluster{Client: admin}).SecretValue(t.Context(), webhook.Namespace, access.SigningKeySecret(webhook), "signing-key")
	if err != nil {
		t.Fatal(err)
	}
	logs := 0
	for name, text := range files {
		for _, planted := range []string{apiKey, key, sentinel, "customer.example", "sentinel-annotation", "sentinel-sink-token", "203.0.113.77"} {
			if strings.Contains(text, planted) {
				t.Errorf("%s has %s", name, planted)
			}
		}
		if strings.HasPrefix(name, "logs/") && strings.Contains(text, "a line of a log of mail-") {
			logs++
		}
	}
	if logs == 0 {
		t.Errorf("there are no logs in %d files", len(files))
	}
}

func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(text)
	}
}

// An account is compared with manifests, and printed as such.
func TestAccountsAreComparedWithManifests(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	api, err := mandrill.NewClient(mandrill.ClientOptions{Key: apiKey, BaseURL: s.api.URL + "/api/1.0"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer elsewhere.Close()
	if _, err := api.AddWebhook(t.Context(), mandrill.WebhookSpec{URL: elsewhere.URL + "/old", Description: "Old shop", Events: []string{"blacklist", "send"}}); err != nil {
		t.Fatal(err)
	}
	r := s.run(webhook.Namespace, "import", "--account-secret", "mandrill")
	for _, text := range []string{webhook.Namespace + "/transactional has it already", "name: old-shop", "- denylist", "url: " + elsewhere.URL + "/old", "deletionPolicy: Retain"} {
		if r.status != output.StatusOK || !strings.Contains(r.out, text) {
			t.Errorf("import lacks %q: %+v", text, r)
		}
	}
	s.documented("import", webhook.Namespace, "kubectl mandrill import --account-secret mandrill -n shop", result{out: strings.ReplaceAll(r.out, elsewhere.URL, "https://old.example.com")})
	_, manifests, _ := strings.Cut(r.out, "---\n")
	if diff := s.runWith(webhook.Namespace, localPods{}, manifests, "diff", "-f", "-"); diff.status != output.StatusProblems || !strings.Contains(diff.out, "would be taken over") {
		t.Errorf("diff of what was imported: %+v", diff)
	}
	manifest := fmt.Sprintf("apiVersion: mandrill-operator.io/v1alpha1\nkind: MandrillWebhook\nmetadata: {name: transactional, namespace: %s}\nspec:\n"+
		"  description: Shop mail events\n  events: [send, open, click]\n  apiKeySecretRef: {name: mandrill}\n  sink: {uri: http://x.example}\n", webhook.Namespace)
	diff := s.runWith(webhook.Namespace, localPods{}, manifest, "diff", "-f", "-")
	if want := webhook.Namespace + "/transactional: events: click would be added\n    events: hard_bounce would be removed\n"; diff.out != want || diff.status != output.StatusProblems {
		t.Errorf("diff: %+v", diff)
	}
	if r := s.run(webhook.Namespace, "pause", webhook.Name); r.status != output.StatusOK {
		t.Errorf("pause: %+v", r)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil || !webhook.Spec.Suspend {
		t.Errorf("after pause: %v, %v", webhook.Spec.Suspend, err)
	}
	if r := s.run(webhook.Namespace, "resume", webhook.Name); r.status != output.StatusOK || !strings.HasPrefix(r.out, "resumed") {
		t.Errorf("resume: %+v", r)
	}
}
