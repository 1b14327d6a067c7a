package main

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// batchType is the content type of CloudEvents in a batch.
const batchType = "application/cloudevents-batch+json"

// sinkServer accepts everything at once with 202 and a body, and counts events. It takes as little processor time as a server can, so
// that what is measured is not the sink.
type sinkServer struct{ events atomic.Int64 }

func startSink(ctx context.Context) (role, string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	s := &sinkServer{}
	server := &fasthttp.Server{Handler: s.accept, MaxRequestBodySize: 64 << 20, ReadBufferSize: 16 << 10, NoDefaultDate: true}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return s, "http://" + listener.Addr().String() + "/events", nil
}

func (s *sinkServer) accept(request *fasthttp.RequestCtx) {
	events := 1
	if string(request.Request.Header.ContentType()) == batchType {
		events = bytes.Count(request.PostBody(), []byte(`"specversion"`))
	}
	s.events.Add(int64(events))
	request.SetStatusCode(fasthttp.StatusAccepted)
	request.SetBodyString(`{"accepted":true}`)
}

// do returns how many events arrived since it was asked last.
func (s *sinkServer) do(context.Context, job) (result, error) {
	return result{Events: int(s.events.Swap(0))}, nil
}
