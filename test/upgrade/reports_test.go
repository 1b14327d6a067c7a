package upgrade_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/report"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// These tests hold the operator and the receiver of other commits to the form of reports that the first commit with reports had. It is
// recorded in testdata/reports/first.json, and in the types below, which are never changed: fields are only added to a version.

type (
	firstReport struct {
		Version  int            `json:"version"`
		Receiver string         `json:"receiver"`
		Instance string         `json:"instance"`
		Sequence uint64         `json:"sequence"`
		Stopping bool           `json:"stopping,omitempty"`
		Buffer   *firstBuffer   `json:"buffer,omitempty"`
		Webhooks []firstWebhook `json:"webhooks,omitempty"`
	}
	firstBuffer struct {
		ID        string `json:"id"`
		State     string `json:"state"`
		Delivers  bool   `json:"delivers"`
		UsedBytes int64  `json:"usedBytes"`
		MaxBytes  int64  `json:"maxBytes"`
	}
	firstWebhook struct {
		Name                string        `json:"name"`
		WaitingEvents       int64         `json:"waitingEvents,omitempty"`
		WaitingBytes        int64         `json:"waitingBytes,omitempty"`
		OldestWaitingAge    *float64      `json:"oldestWaitingAge,omitempty"`
		ReceivedEvents      uint64        `json:"receivedEvents,omitempty"`
		DeliveredEvents     uint64        `json:"deliveredEvents,omitempty"`
		LastReceivedAge     *float64      `json:"lastReceivedAge,omitempty"`
		LastDeliveredAge    *float64      `json:"lastDeliveredAge,omitempty"`
		Failure             *firstFailure `json:"failure,omitempty"`
		FailingFor          *float64      `json:"failingFor,omitempty"`
		CircuitOpen         bool          `json:"circuitOpen,omitempty"`
		DeadLetters         int64         `json:"deadLetters,omitempty"`
		LostMessages        int64         `json:"lostMessages,omitempty"`
		LastBadSignatureAge *float64      `json:"lastBadSignatureAge,omitempty"`
	}
	firstFailure struct {
		Reason string  `json:"reason"`
		Status int     `json:"status,omitempty"`
		Age    float64 `json:"age"`
	}
)

// token has the form of a ServiceAccount's.
const token = "header.payload.signature"

func firstBytes(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/reports/first.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(data)
}

// webhook is the object that the report is about.
func reportedWebhook() *v1alpha1.MandrillWebhook {
	return &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "transactional", UID: "1", CreationTimestamp: metav1.NewTime(time.Now().Add(-240 * time.Hour)),
	}}
}

// reviewer is an API server that knows each token as that of the shared receiver.
type reviewer struct{ client.Client }

func (reviewer) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	review := object.(*authenticationv1.TokenReview)
	review.Status = authenticationv1.TokenReviewStatus{
		Authenticated: true, Audiences: []string{form.Audience},
		User: authenticationv1.UserInfo{
			Username: "system:serviceaccount:system:mandrill-receiver",
			Extra:    map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/pod-name": {"mandrill-receiver-0"}},
		},
	}
	return nil
}

// newOperator is the part of today's operator that takes reports.
func newOperator() *delivery.Delivery {
	elected := make(chan struct{})
	close(elected)
	d := delivery.New(delivery.Options{
		Client: reviewer{}, Recorder: events.NewFakeRecorder(10), Registerer: prometheus.NewRegistry(), Elected: elected, Resync: time.Minute,
		Handles: func(*v1alpha1.MandrillWebhook) bool { return true }, SharedReceivers: []string{"system/mandrill-receiver"},
		BadSignature: func(types.NamespacedName) {},
	})
	d.Objects.Set(reportedWebhook())
	return d
}

func postReport(t *testing.T, operator http.Handler, body []byte) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, form.Path, bytes.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+token)
	response := httptest.NewRecorder()
	operator.ServeHTTP(response, request)
	return response.Code
}

// Today's operator takes the reports of the first receivers, with all that they say, and those of later ones that say more or less.
func TestReportsOfOtherReceiversAreTaken(t *testing.T) {
	t.Parallel()
	more := strings.NewReplacer(`"sequence":7`, `"sequence":7,"weather":{"rain":[1]}`, `"circuitOpen":true`, `"circuitOpen":true,"mood":"sad"`,
		`"reason":"Status"`, `"reason":"Moon","detail":{}`, `"state":"Available"`, `"state":"Sleeping","shelf":1`).Replace(string(firstBytes(t)))
	for name, test := range map[string]struct {
		body string
		want delivery.Summary
	}{
		"the first": {string(firstBytes(t)), delivery.Summary{Live: 1, Waiting: 12, DeadLetters: 3, CircuitOpen: true, HeldLosses: 1}},
		"one with more fields, and values that this operator does not know": {more, delivery.Summary{Live: 1, Waiting: 12, DeadLetters: 3, CircuitOpen: true, HeldLosses: 1}},
		"one that says no more than the name": {`{"version":1,"receiver":"r","instance":"a","sequence":1,"webhooks":[{"name":"shop/transactional"}]}`,
			delivery.Summary{Live: 1}},
	} {
		operator := newOperator()
		if status := postReport(t, operator, []byte(test.body)); status != http.StatusAccepted {
			t.Errorf("%s: status %d", name, status)
		}
		sum := operator.Store.Summarise(types.NamespacedName{Namespace: "shop", Name: "transactional"}, "1")
		got := delivery.Summary{Live: sum.Live, Waiting: sum.Waiting, DeadLetters: sum.DeadLetters, CircuitOpen: sum.CircuitOpen, HeldLosses: sum.HeldLosses}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(delivery.Summary{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What today's receiver reports is what the first operators read: no field has gone, or means something else.
func TestReportsAreReadByOtherOperators(t *testing.T) {
	t.Parallel()
	var first firstReport
	var today form.Report
	for _, target := range []any{&first, &today} {
		if err := json.Unmarshal(firstBytes(t), target); err != nil {
			t.Fatal(err)
		}
	}
	for name, report := range map[string]any{"first": &first, "today's": &today} {
		encoded, err := json.Marshal(report)
		if err != nil || !bytes.Equal(encoded, firstBytes(t)) {
			t.Errorf("the %s form writes %s, want what was recorded: %v", name, encoded, err)
		}
	}
	if form.Version != 1 {
		t.Errorf("operators of the version 1 refuse reports of version %d: write both, until nobody runs them", form.Version)
	}
	assertKept(t, reflect.TypeFor[firstReport](), reflect.TypeFor[form.Report]())
}

// assertKept checks that a struct has all fields of an older one, under the same names and with the same kinds.
func assertKept(t *testing.T, first, today reflect.Type) {
	t.Helper()
	for i := range first.NumField() {
		old := first.Field(i)
		now, ok := today.FieldByName(old.Name)
		if !ok || now.Tag.Get("json") != old.Tag.Get("json") || now.Type.Kind() != old.Type.Kind() {
			t.Errorf("%s.%s has changed: %v", today, old.Name, now)
			continue
		}
		if kind := old.Type.Kind(); kind == reflect.Pointer || kind == reflect.Slice {
			if old.Type.Elem().Kind() == reflect.Struct {
				assertKept(t, old.Type.Elem(), now.Type.Elem())
			}
		}
	}
}

// quiet is a receiver without changes.
type quiet struct{}

func (quiet) Changed() <-chan struct{} { return nil }
func (quiet) Changes() []form.Webhook  { return nil }
func (quiet) Snapshot() []form.Webhook { return []form.Webhook{{Name: "shop/transactional"}} }
func (quiet) Buffer() *form.Buffer     { return nil }

// Today's receiver reports to an operator whose server has no such path, or refuses the version, without end and without harm.
func TestOtherOperatorsAreAskedAgain(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]int{"one without reports": http.StatusNotFound, "one of a newer form": http.StatusBadRequest} {
		operator := newOperator()
		var asked, upgraded int
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 { // then it is replaced by today's
				w.WriteHeader(refusal)
				return
			}
			upgraded++
			operator.ServeHTTP(w, r)
		}))
		file := t.TempDir() + "/token"
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		sender := report.New(report.Options{
			URL: server.URL, TokenFile: file, Source: quiet{}, Receiver: "mandrill-receiver-0", Instance: "a", Metrics: report.NewMetrics(prometheus.NewRegistry()),
			Interval: 100 * time.Millisecond,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); sender.Run(ctx) }()
		poll.True(t, time.Minute, name, func() bool { return !sender.Status().LastAccepted.IsZero() })
		cancel()
		<-done
		server.Close()
		if upgraded == 0 || sender.Status().Failure != "" {
			t.Errorf("%s: the status is %+v", name, sender.Status())
		}
	}
}
