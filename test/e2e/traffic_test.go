package e2e

import (
	"errors"
	"fmt"
	"net/http"
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

// load is a flow of batches for the webhook "load" of a namespace.
type load struct {
	cluster *cluster
	name    string
}

// startLoad posts batches to a release's receivers until finish. The settings are those of test/e2e/traffic.
func (c *cluster) startLoad(t *testing.T, namespace, receiver string, settings map[string]any) *load {
	t.Helper()
	object := c.webhook(t, namespace, "load")
	secret := &corev1.Secret{}
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "load-signing-key"}, secret); err != nil {
		t.Fatal(err)
	}
	l := &load{cluster: c, name: strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-")}
	all := map[string]any{"name": l.name, "path": "/load", "target": "http://" + receiver, "url": object.Status.URL, "key": string(secret.Data["signing-key"])}
	for name, value := range settings {
		all[name] = value
	}
	if err := c.call(t, http.MethodPost, "shop", "traffic:control", "/start", nil, all, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	l.awaitProgress(t, 50)
	return l
}

func (l *load) report(t *testing.T) report {
	t.Helper()
	r, err := l.tryReport(t)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (l *load) tryReport(t *testing.T) (r report, err error) {
	t.Helper()
	err = l.cluster.call(t, http.MethodGet, "shop", "traffic:control", "/report", map[string]string{"name": l.name}, nil, &r)
	return r, err
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

// finish ends the load and waits until every accepted event has arrived.
func (l *load) finish(t *testing.T) report {
	t.Helper()
	var r report
	if err := l.cluster.call(t, http.MethodPost, "shop", "traffic:control", "/stop", map[string]string{"name": l.name}, struct{}{}, &r); err != nil {
		t.Fatal(err)
	}
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
func (c *cluster) setSink(t *testing.T, closed bool, status int) {
	t.Helper()
	want := map[string]any{"closed": closed, "status": status}
	if err := c.call(t, http.MethodPost, "shop", "traffic:control", "/sink", nil, want, &struct{}{}); err != nil {
		t.Fatal(err)
	}
}
