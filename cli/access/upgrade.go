package access

import (
	"encoding/json"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's upgraders are of it
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
	streaming "k8s.io/streaming/pkg/httpstream" // whose errors client-go returns
)

// Commands and forwarded ports use WebSockets, or SPDY where something on the way does not pass them, as kubectl does.

// passesNoWebSockets reports whether a connection failed before anything was run, so that SPDY may succeed. What has been run must not
// be run twice.
func passesNoWebSockets(err error) bool {
	return streaming.IsUpgradeFailure(err) || streaming.IsHTTPSProxyError(err)
}

// spdyTransport returns the transport of a connection by SPDY, and what makes a connection of an answer.
func spdyTransport(config *rest.Config) (http.RoundTripper, spdy.Upgrader, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	return transport, refusals{upgrader}, err
}

// refusals returns the API server's error if it refuses a connection; client-go makes a text of it.
type refusals struct{ spdy.Upgrader }

// NewConnection makes a connection of an answer.
func (r refusals) NewConnection(response *http.Response) (httpstream.Connection, error) {
	if response.StatusCode == http.StatusSwitchingProtocols {
		return r.Upgrader.NewConnection(response)
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxStderr))
	refused := &apierrors.StatusError{}
	if json.Unmarshal(text, &refused.ErrStatus) != nil || refused.ErrStatus.Status != metav1.StatusFailure {
		refused = apierrors.NewGenericServerResponse(response.StatusCode, "connect", corev1.Resource("pods"), "", string(text), 0, true)
	}
	return nil, refused
}
