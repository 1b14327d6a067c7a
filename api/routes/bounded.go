package routes

import (
	"context"
	"io"
	"net/http"
)

// Bounded returns a transport whose answers end with the context of their request, whatever the server does. By HTTP/2, net/http does
// not notice the end of a context while the server has sent a status, does not read the rest of the request and does not end its answer.
func Bounded(transport http.RoundTripper) http.RoundTripper { return bounded{transport} }

type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err == nil && response.ProtoMajor == 2 {
		body := response.Body
		stop := context.AfterFunc(request.Context(), func() { _ = body.Close() }) // ends a Read that is under way
		response.Body = boundedBody{body, stop}
	}
	return response, err
}

// CloseIdleConnections is called by [http.Client.CloseIdleConnections].
func (b bounded) CloseIdleConnections() {
	if closer, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

type boundedBody struct {
	io.ReadCloser
	stop func() bool
}

func (b boundedBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}
