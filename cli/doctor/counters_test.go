package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// pods answer metrics by a function.
type pods struct {
	access.Pods
	metrics func(pod string, port int) ([]byte, error)
}

func (p pods) Metrics(_ context.Context, _, pod string, port int) ([]byte, error) {
	return p.metrics(pod, port)
}

// counted is the metrics of a receiver.
func counted(started time.Time, events float64) func() ([]byte, error) {
	return func() ([]byte, error) {
		return fmt.Appendf(nil, "# TYPE x counter\nmandrill_receiver_received_events_total{webhook=\"shop/other\"} 9\n"+
			"mandrill_receiver_received_events_total{webhook=\"shop/a\"} %g\nprocess_start_time_seconds %f\n", events, float64(started.UnixNano())/1e9), nil
	}
}

// The numbers are compared if they have the same beginning. If not, or if they are not known, that is said.
func TestNumbersAreComparedFromTheSameBeginning(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	created := now.Add(-time.Hour)
	before, after := created.Add(-time.Hour), created.Add(30*time.Minute)
	fail := func(err error) func() ([]byte, error) { return func() ([]byte, error) { return nil, err } }
	for name, test := range map[string]struct {
		receivers []func() ([]byte, error)
		sent      int64
		underWay  bool
		level     Level
		text      string
	}{
		"all arrived":      {[]func() ([]byte, error){counted(before, 1.5e6), counted(before, 2)}, 1500002, false, OK, "receivers have counted 1500002 events, and Mandrill 1500002, since it created the webhook 60m ago"},
		"tests":            {[]func() ([]byte, error){counted(before, 3)}, 2, false, OK, "also count the events of kubectl mandrill test"},
		"some are missing": {[]func() ([]byte, error){counted(before, 3)}, 5, false, Warn, "receivers have counted 3 events, and Mandrill 5"},
		"none arrives":     {[]func() ([]byte, error){counted(before, 0)}, 5, false, Fail, "receivers have counted 0 events, and Mandrill 5"},
		"under way":        {[]func() ([]byte, error){counted(before, 0)}, 5, true, OK, "some may be under way"},
		"a restart":        {[]func() ([]byte, error){counted(before, 4), counted(after, 1)}, 90, false, OK, "since they started 2h ago to 30m ago, and Mandrill 90 since it created the webhook 60m ago: with different beginnings"},
		"one does not answer": {[]func() ([]byte, error){counted(before, 4), fail(errors.New("no"))}, 90, false, Skip,
			"not checked: the numbers of events: system/r-1 did not show metrics"},
		"no right": {[]func() ([]byte, error){fail(apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "r", errors.New("no")))}, 90, false, Skip,
			"you lack a right: get pods/proxy in namespace system"},
	} {
		scheme, err := access.Scheme()
		if err != nil {
			t.Fatal(err)
		}
		builder := fake.NewClientBuilder().WithScheme(scheme)
		for i := range test.receivers {
			builder = builder.WithObjects(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: fmt.Sprintf("r-%d", i), Labels: map[string]string{"app.kubernetes.io/component": "receiver"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "receiver", Args: []string{"--routes-secret=system/routes", "--metrics-listen=:9191"}}}},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
					Name: "receiver", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
				}}},
			})
		}
		d := &doctor{
			env: &access.Env{Now: func() time.Time { return now }}, webhook: &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}},
			cluster: &access.Cluster{Client: builder.Build(), Pods: pods{metrics: func(pod string, port int) ([]byte, error) {
				if port != 9191 {
					t.Errorf("the metrics are at port %d", port)
				}
				return test.receivers[pod[len(pod)-1]-'0']()
			}}},
		}
		found := d.numbers(t.Context(), test.sent, created, !test.underWay)
		if len(found) != 1 || found[0].Level != test.level || !strings.Contains(found[0].Text, test.text) || (found[0].Do != "") != (test.level == Warn || test.level == Fail) {
			t.Errorf("%s: got %+v", name, found)
		}
	}
}
