package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// socketClient is a client of the admin socket of a running receiver.
type socketClient struct {
	path   string
	client http.Client
}

func newSocketClient(path string) (*socketClient, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, err
	}
	return &socketClient{path: path, client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}, nil
}

func (s *socketClient) List(ctx context.Context, filter journal.DeadLetterFilter, after uint64) (page admin.DeadLetterPage, err error) {
	query := url.Values{"after": {strconv.FormatUint(after, 10)}}
	if filter.Webhook != "" {
		query.Set("webhook", filter.Webhook)
	}
	if filter.Reason != "" {
		query.Set("reason", filter.Reason)
	}
	return page, s.get(ctx, "/dead-letters?"+query.Encode(), &page)
}

// get reads a page.
func (s *socketClient) get(ctx context.Context, path string, into any) error {
	response, err := s.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	if response.StatusCode != http.StatusOK {
		return errorOf(response)
	}
	return decode(response, into)
}

func (s *socketClient) Show(ctx context.Context, seq uint64, w io.Writer) error {
	return s.copy(ctx, "/dead-letters/"+strconv.FormatUint(seq, 10), w)
}

// copy copies an answer.
func (s *socketClient) copy(ctx context.Context, path string, w io.Writer) error {
	response, err := s.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	if response.StatusCode != http.StatusOK {
		return errorOf(response)
	}
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("reading the receiver's answer: %w", err)
	}
	return nil
}

func (s *socketClient) Redrive(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error) {
	return s.work(ctx, "/dead-letters/redrive", request)
}

func (s *socketClient) Purge(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error) {
	return s.work(ctx, "/dead-letters/purge", request)
}

func (s *socketClient) work(ctx context.Context, path string, request admin.DeadLetterRequest) (journal.Progress, error) {
	var answer admin.DeadLetterAnswer
	status, err := s.post(ctx, path, request, &answer)
	if err == nil && status != http.StatusOK {
		err = errors.New(answer.Error)
	}
	return answer.Progress, err
}

// post sends a request and reads the answer, whatever its status.
func (s *socketClient) post(ctx context.Context, path string, request, answer any) (status int, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, fmt.Errorf("encoding a request: %w", err)
	}
	response, err := s.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	return response.StatusCode, decode(response, answer)
}

// request makes a request. It has no timeout: redriving may take long, and the user can interrupt it.
func (s *socketClient) request(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	// The host is never resolved: the transport connects to the socket.
	request, err := http.NewRequestWithContext(ctx, method, "http://receiver"+path, bytes.NewReader(body)) //nolint:gosec // see above
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	response, err := s.client.Do(request) //nolint:gosec // see above
	if opErr := new(net.OpError); errors.As(err, &opErr) && opErr.Op == "dial" {
		return nil, fmt.Errorf("no receiver answers at %s: is it running, with --buffer and this socket? (%w)", s.path, opErr.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("calling the receiver: %w", err)
	}
	return response, nil
}

func decode(response *http.Response, into any) error {
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the receiver's answer with status %d: %w", response.StatusCode, err)
	}
	return nil
}

// errorOf returns the error in an answer.
func errorOf(response *http.Response) error {
	var answer admin.DeadLetterAnswer
	if err := decode(response, &answer); err != nil {
		return err
	}
	return errors.New(answer.Error)
}
