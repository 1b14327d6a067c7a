package access_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// A command that fails is run once: it may have changed something.
func TestACommandThatFailsIsRunOnce(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		channels := []wsstream.ChannelType{wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel}
		conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"v5.channel.k8s.io": {Binary: true, Channels: channels}})
		_, streams, err := conn.Open(w, r)
		if err != nil {
			return // it is no WebSocket
		}
		defer conn.Close()
		_, _ = io.WriteString(streams[1], "redrove 1 dead letter\n")
		_, _ = io.WriteString(streams[2], "receiver: the disk is full\n")
		_ = json.NewEncoder(streams[3]).Encode(metav1.Status{
			Status: metav1.StatusFailure, Reason: "NonZeroExitCode",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: "3"}}},
		})
	}))
	defer server.Close()
	c, receiver := forwardingCluster(t, server.URL)
	var out bytes.Buffer
	err := c.Run(t.Context(), receiver, []string{"dead-letters", "redrive"}, nil, &out)
	exit := new(access.ExitError)
	if !errors.As(err, &exit) || exit.Status != 3 || exit.Stderr != "receiver: the disk is full\n" {
		t.Errorf("got %v", err)
	}
	if runs.Load() != 1 || out.String() != "redrove 1 dead letter\n" {
		t.Errorf("it ran %d times: %q", runs.Load(), out.String())
	}
}

// A right that is missing is named, whichever way the API server was asked.
func TestACommandThatIsRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		http.StatusForbidden: "you lack a right: create pods/exec in namespace system", http.StatusNotFound: "the pod system/r is gone",
	} {
		c, receiver := forwardingCluster(t, refusingServer(t, code).URL)
		if err := c.Run(t.Context(), receiver, []string{"backlog"}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: got %v", code, err)
		}
	}
}
