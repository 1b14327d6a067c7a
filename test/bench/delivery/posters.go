package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/valyala/fasthttp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// rawBatch is how many events a request in Batched mode has at most.
const rawBatch = 100

// finishedRequest is a request that only has to be sent.
type finishedRequest struct {
	header http.Header
	body   []byte
}

// poster sends finished requests: what remains of the receiver's work without a form, signatures, events and retries.
type poster struct {
	newClient func(sink string, requests []finishedRequest, inflight int) (posterClient, error)
	requests  []finishedRequest
	events    int
	client    posterClient
}

// posterClient sends requests with an HTTP library.
type posterClient interface {
	post(i int) error
	close()
}

func (p *poster) do(_ context.Context, j job) (result, error) {
	if j.Do == "prepare" {
		var err error
		if p.requests, err = finishedRequests(j); err != nil {
			return result{}, err
		}
		p.events = j.Batches * j.Size
		p.client, err = p.newClient(j.Sink, p.requests, j.Inflight)
		return result{Events: p.events}, err
	}
	took, times, err := inParallel(len(p.requests), j.Inflight, p.client.post)
	p.client.close()
	p.requests = nil
	return result{Events: p.events, Took: took, P50: quantile(times, 0.5), P99: quantile(times, 0.99)}, err
}

// finishedRequests makes the requests that the receiver would send.
func finishedRequests(j job) ([]finishedRequest, error) {
	generator := newEventGenerator(j.Seed)
	var list []finishedRequest
	for range j.Batches {
		events := generator.events(j.Size)
		ids := mapping.EventIDs(events)
		var open *finishedRequest
		for i, raw := range events {
			ce := mapping.CloudEvent(mapping.Target{Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/bench"}, mandrill.ParseEvent(raw), ids[i])
			if !j.Batched {
				list = append(list, finishedRequest{binaryHeader(&ce), raw})
				continue
			}
			if i%rawBatch == 0 {
				list = append(list, finishedRequest{http.Header{"Content-Type": {batchType}}, nil})
				open = &list[len(list)-1]
			}
			if err := open.add(&ce, i == len(events)-1 || i%rawBatch == rawBatch-1); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// add adds an event to a request in Batched mode.
func (r *finishedRequest) add(ce *cloudevents.Event, last bool) error {
	var encoded bytes.Buffer
	if err := cloudevents.WriteJson(ce, &encoded); err != nil {
		return err
	}
	if len(r.body) == 0 {
		r.body = append(r.body, '[')
	}
	r.body = append(r.body, encoded.Bytes()...)
	if last {
		r.body = append(r.body, ']')
	} else {
		r.body = append(r.body, ',')
	}
	return nil
}

func binaryHeader(ce *cloudevents.Event) http.Header {
	header := http.Header{
		"Content-Type": {ce.DataContentType()}, "Ce-Specversion": {ce.SpecVersion()}, "Ce-Id": {ce.ID()}, "Ce-Source": {ce.Source()}, "Ce-Type": {ce.Type()},
	}
	for name, value := range map[string]string{"Ce-Subject": ce.Subject(), "Ce-Dataschema": ce.DataSchema()} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if at := ce.Time(); !at.IsZero() {
		header.Set("Ce-Time", types.FormatTime(at))
	}
	for name, value := range ce.Extensions() {
		header.Set("Ce-"+name, fmt.Sprint(value))
	}
	return header
}

// netHTTPClient posts by net/http.
type netHTTPClient struct {
	sink     string
	requests []finishedRequest
	client   *http.Client
}

func newNetHTTPClient(sink string, requests []finishedRequest, inflight int) (posterClient, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inflight}, Timeout: time.Minute}
	return &netHTTPClient{sink, requests, client}, nil
}

func (c *netHTTPClient) post(i int) error {
	request, err := http.NewRequest(http.MethodPost, c.sink, bytes.NewReader(c.requests[i].body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return err
	}
	request.Header = c.requests[i].header
	return send(c.client, request, http.StatusAccepted)
}

func (c *netHTTPClient) close() { c.client.CloseIdleConnections() }

// fastHTTPClient posts by fasthttp, which is as fast as one gets in Go.
type fastHTTPClient struct {
	sink     string
	requests []finishedRequest
	client   *fasthttp.HostClient
}

func newFastHTTPClient(sink string, requests []finishedRequest, inflight int) (posterClient, error) {
	uri := fasthttp.AcquireURI()
	defer fasthttp.ReleaseURI(uri)
	if err := uri.Parse(nil, []byte(sink)); err != nil {
		return nil, err
	}
	return &fastHTTPClient{sink, requests, &fasthttp.HostClient{Addr: string(uri.Host()), MaxConns: inflight}}, nil
}

func (c *fastHTTPClient) post(i int) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(c.sink)
	request.Header.SetMethod(http.MethodPost)
	for name, values := range c.requests[i].header {
		request.Header.Set(name, values[0])
	}
	request.SetBodyRaw(c.requests[i].body)
	if err := c.client.DoTimeout(request, response, time.Minute); err != nil {
		return err
	}
	if response.StatusCode() != http.StatusAccepted {
		return fmt.Errorf("got status %d", response.StatusCode())
	}
	return nil
}

func (c *fastHTTPClient) close() { c.client.CloseIdleConnections() }
