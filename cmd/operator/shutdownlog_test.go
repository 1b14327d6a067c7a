package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// slowSink is an API server that answers no request for an Event before it is cancelled.
type slowSink struct{ asked chan struct{} }

func (s slowSink) Create(ctx context.Context, _ *eventsv1.Event) (*eventsv1.Event, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, &url.Error{Op: "Post", URL: "https://10.96.0.1/apis/events.k8s.io/v1", Err: ctx.Err()}
}

func (s slowSink) Update(context.Context, *eventsv1.Event) (*eventsv1.Event, error) {
	return nil, errors.ErrUnsupported
}

func (s slowSink) Patch(context.Context, *eventsv1.Event, []byte) (*eventsv1.Event, error) {
	return nil, errors.ErrUnsupported
}

// client-go may be writing an Event when the operator is told to stop, and the request is cancelled. That is an error only while the
// operator runs.
func TestCancelledRequestsAreNoErrorsAtAShutdown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		shutdown bool
		level    string
	}{{"while it runs", false, "ERROR"}, {"at a shutdown", true, "DEBUG"}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log logbuffer.Buffer
			running, stop := context.WithCancel(t.Context())
			defer stop()
			logger := logr.FromSlogHandler(shutdownHandler{slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}), running})
			sink := slowSink{make(chan struct{})}
			recording, cancel := context.WithCancel(klog.NewContext(t.Context(), logger.WithName("events").WithValues("a", "b")))
			defer cancel()
			broadcaster := events.NewBroadcaster(sink)
			if err := broadcaster.StartRecordingToSinkWithContext(recording); err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Namespace: "default"}}
			broadcaster.NewRecorder(scheme.Scheme, "test").Eventf(pod, nil, corev1.EventTypeNormal, "Reason", "Action", "note")
			<-sink.asked
			if test.shutdown {
				stop()
			}
			broadcaster.Shutdown()
			cancel()
			poll.True(t, time.Minute, "the log has the Event", func() bool { return strings.Contains(log.String(), "Unable to write event") })
			if !strings.Contains(log.String(), `"level":"`+test.level+`","msg":"Unable to write event`) {
				t.Errorf("the log is\n%s", log.String())
			}
		})
	}
}

// Below debug such a request is not logged at a shutdown. Other errors are.
func TestErrorsAtAShutdownAreLogged(t *testing.T) {
	t.Parallel()
	var log logbuffer.Buffer
	running, stop := context.WithCancel(t.Context())
	stop()
	logger := logr.FromSlogHandler(shutdownHandler{slog.NewJSONHandler(&log, nil), running})
	logger.Error(fmt.Errorf("writing: %w", context.Canceled), "Cancelled")
	logger.Error(errors.ErrUnsupported, "Failed")
	logger.Error(nil, "Failed without a cause")
	if got := log.String(); strings.Contains(got, "Cancelled") || strings.Count(got, `"level":"ERROR"`) != 2 {
		t.Errorf("the log is\n%s", got)
	}
}
