package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Mandrill's choice
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/client"
	cecontext "github.com/cloudevents/sdk-go/v2/context"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// plainReceiver is a receiver as one writes it in an afternoon: the form parser of net/http, maps, and the client of sdk-go. It has no
// limits, retries, metrics, ids that stay the same, or order.
type plainReceiver struct {
	client client.Client
	sink   atomic.Pointer[string]
}

func startPlain(ctx context.Context) (role, string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	c, err := client.NewHTTP(cehttp.WithRoundTripper(&http.Transport{MaxIdleConnsPerHost: 128}))
	if err != nil {
		return nil, "", err
	}
	p := &plainReceiver{client: c}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return p, listener.Addr().String(), nil
}

func (p *plainReceiver) do(_ context.Context, j job) (result, error) {
	p.sink.Store(&j.Sink)
	return result{}, nil
}

func (p *plainReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.deliver(r); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (p *plainReceiver) deliver(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	mac := hmac.New(sha1.New, []byte(signingKey))
	mac.Write([]byte("https://hooks.example.com" + r.URL.Path))
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		mac.Write([]byte(name + r.PostForm.Get(name)))
	}
	if !hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(r.Header.Get(mandrill.SignatureHeader))) {
		return errors.New("the signature is wrong")
	}
	var batch []map[string]any
	if err := json.Unmarshal([]byte(r.PostForm.Get(mandrill.EventsField)), &batch); err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	var group errgroup.Group
	group.SetLimit(32)
	for i, content := range batch {
		group.Go(func() error { return p.send(ctx, content, i) })
	}
	return group.Wait()
}

func (p *plainReceiver) send(ctx context.Context, content map[string]any, i int) error {
	ce := event.New()
	id, _ := content["_id"].(string)
	ce.SetID(id + "-" + strconv.Itoa(i))
	ce.SetSource("/bench")
	name, _ := content["event"].(string)
	ce.SetType("com.mandrill.message." + name)
	if at, ok := content["ts"].(float64); ok {
		ce.SetTime(time.Unix(int64(at), 0))
	}
	if message, ok := content["msg"].(map[string]any); ok {
		if email, ok := message["email"].(string); ok {
			ce.SetExtension("recipient", email)
		}
	}
	if err := ce.SetData(event.ApplicationJSON, content); err != nil {
		return err
	}
	if outcome := p.client.Send(cecontext.WithTarget(ctx, *p.sink.Load()), ce); !protocol.IsACK(outcome) {
		return outcome
	}
	return nil
}
