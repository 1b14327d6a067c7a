package receive_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/mandrill-operator/mandrill-operator/examples/go/receive"
)

const (
	one = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":{}}`
	two = `{"specversion":"1.0","id":"2","source":"/s","type":"t","datacontenttype":"application/json","data":{}}`
)

func post(t *testing.T, url, contentType, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// What docs/consumers.md warns of, with the version of the SDK that go.mod names. A warning that is not true any more fails here.
func TestStartReceiverDoesNotReadBatches(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocol, err := cloudevents.NewHTTP(cehttp.WithListener(listener))
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := client.New(protocol)
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan string, 10)
	go func() {
		_ = receiver.StartReceiver(t.Context(), func(ce event.Event) { arrived <- ce.ID() })
	}()
	url := "http://" + listener.Addr().String()
	if status := post(t, url, event.ApplicationCloudEventsJSON, one); status >= 300 || <-arrived != "1" {
		t.Errorf("a structured event was answered with %d", status)
	}
	if status := post(t, url, event.ApplicationCloudEventsBatchJSON, "["+one+","+two+"]"); status < 400 || len(arrived) > 0 {
		t.Errorf("a batch was answered with %d, and %d events were read", status, len(arrived))
	}
}

func TestHandlerReadsBatchesInOrder(t *testing.T) {
	t.Parallel()
	var got []string
	server := httptest.NewServer(receive.Handler(func(_ context.Context, ce event.Event) error {
		got = append(got, ce.ID())
		return nil
	}))
	defer server.Close()
	status := post(t, server.URL, event.ApplicationCloudEventsBatchJSON, "["+one+","+two+"]")
	if status != http.StatusNoContent || !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %d, %v", status, got)
	}
}

// What is not an event is refused for good; what cannot be processed now comes again.
func TestAnswersOfHandler(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(receive.Handler(func(context.Context, event.Event) error { return context.DeadlineExceeded }))
	defer server.Close()
	for body, want := range map[string]int{one: http.StatusServiceUnavailable, `{`: http.StatusBadRequest, `{}`: http.StatusBadRequest} {
		if status := post(t, server.URL, event.ApplicationCloudEventsJSON, body); status != want {
			t.Errorf("%s was answered with %d, want %d", body, status, want)
		}
	}
}
