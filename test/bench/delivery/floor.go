package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// floorReceiver does what no receiver can leave out: it reads the body, decodes the form, checks the signature, and posts as many bytes as
// Batched mode does. It does not look at the events: what it posts was encoded before.
type floorReceiver struct {
	batch atomic.Pointer[finishedBatch]
}

// finishedBatch is what is posted for each batch that arrives.
type finishedBatch struct {
	requests []finishedRequest
	client   posterClient
}

func startFloor(ctx context.Context) (role, string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	f := &floorReceiver{}
	server := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return f, listener.Addr().String(), nil
}

// do prepares the requests of one batch.
func (f *floorReceiver) do(_ context.Context, j job) (result, error) {
	j.Batches = 1
	requests, err := finishedRequests(j)
	if err != nil {
		return result{}, err
	}
	client, err := newNetHTTPClient(j.Sink, requests, 128)
	f.batch.Store(&finishedBatch{requests, client})
	return result{}, err
}

func (f *floorReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f.deliver(r); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (f *floorReceiver) deliver(r *http.Request) error {
	body := bytes.NewBuffer(make([]byte, 0, r.ContentLength+bytes.MinRead)) // never grows
	if _, err := io.Copy(body, r.Body); err != nil {
		return err
	}
	form, err := mandrill.ParseForm(body.Bytes())
	if err != nil {
		return err
	}
	if !mandrill.Verify(r.Header.Get(mandrill.SignatureHeader), "https://hooks.example.com"+r.URL.Path, form, signingKey) {
		return errors.New("the signature is wrong")
	}
	batch := f.batch.Load()
	var group errgroup.Group
	for i := range batch.requests {
		group.Go(func() error { return batch.client.post(i) })
	}
	return group.Wait()
}
