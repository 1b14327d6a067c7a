package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// report is what the ledger of test/e2e/traffic has.
type report struct {
	Posts      int
	Failed     map[string]int
	SlowestMS  int64
	Accepted   int
	Missing    int
	Duplicates int
	Unordered  int
	Unknown    int
}

func (r report) String() string {
	return fmt.Sprintf("%d posts, failed %v, slowest %d ms; %d events accepted, %d missing, %d twice, %d out of order",
		r.Posts, r.Failed, r.SlowestMS, r.Accepted, r.Missing, r.Duplicates, r.Unordered)
}

// load is a flow of batches for a webhook of an installation.
type load struct {
	installation *installation
	name         string
}

// startLoad posts batches to the receivers until finish. The settings are those of test/e2e/traffic.
func (i *installation) startLoad(t *testing.T, settings map[string]any) *load {
	t.Helper()
	l := i.startLoadOf(t, "load", settings)
	l.awaitProgress(t, 50)
	return l
}

// startLoadOf is startLoad for another webhook than "load", and does not wait for the first batches.
func (i *installation) startLoadOf(t *testing.T, webhook string, settings map[string]any) *load {
	t.Helper()
	object := i.cluster.webhook(t, i.objects, webhook)
	secret := &corev1.Secret{}
	if err := i.cluster.client.Get(t.Context(), client.ObjectKey{Namespace: i.objects, Name: webhook + "-signing-key"}, secret); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(i.publicURL())
	if err != nil {
		t.Fatal(err)
	}
	i.loads++
	l := &load{installation: i, name: fmt.Sprintf("%s-%d", strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"), i.loads)}
	all := map[string]any{
		"name": l.name, "path": "/" + webhook, "target": "http://" + target.Host, "url": object.Status.URL, "key": string(secret.Data["signing-key"]),
	}
	maps.Copy(all, settings)
	if err := i.control(t, http.MethodPost, "start", "", all, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	return l
}

// control calls a control of test/e2e/traffic.
func (i *installation) control(t *testing.T, method, control, flow string, body, answer any) error {
	t.Helper()
	query := map[string]string{}
	if flow != "" {
		query["name"] = flow
	}
	return i.cluster.call(t, method, i.objects, "traffic:control", "/"+control, query, body, answer)
}

// events counts what arrived at a path of the consumer, by type.
func (i *installation) events(t *testing.T, path string, counts *map[string]int) error {
	t.Helper()
	return i.cluster.call(t, http.MethodGet, i.objects, "traffic:control", "/events", map[string]string{"path": path}, nil, counts)
}

func (l *load) report(t *testing.T) report {
	t.Helper()
	var r report
	if err := l.installation.control(t, http.MethodGet, "report", l.name, nil, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// awaitProgress waits until as many more events are accepted.
func (l *load) awaitProgress(t *testing.T, events int) {
	t.Helper()
	before := l.report(t).Accepted
	eventually(t, "events are accepted", func() error {
		if r := l.report(t); r.Accepted < before+events {
			return errors.New(r.String())
		}
		return nil
	})
}

// stop ends the load. Batches under way are posted until they are accepted.
func (l *load) stop(t *testing.T) report {
	t.Helper()
	var r report
	if err := l.installation.control(t, http.MethodPost, "stop", l.name, struct{}{}, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// finish ends the load and waits until every accepted event has arrived.
func (l *load) finish(t *testing.T) report {
	t.Helper()
	r := l.stop(t)
	eventually(t, "accepted events arrive", func() error {
		if r = l.report(t); r.Missing > 0 {
			return errors.New(r.String())
		}
		return nil
	})
	t.Log(r)
	return r
}

// setSink closes or opens the consumer, or makes it answer with a status.
func (i *installation) setSink(t *testing.T, closed bool, status int) {
	t.Helper()
	want := map[string]any{"closed": closed, "status": status}
	if err := i.control(t, http.MethodPost, "sink", "", want, &struct{}{}); err != nil {
		t.Fatal(err)
	}
}
