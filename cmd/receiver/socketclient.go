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

// socketClient asks a running receiver at its admin socket.
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
	response, err := s.ask(ctx, http.MethodGet, "/dead-letters?"+query.Encode(), nil)
	if err != nil {
		return page, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	if response.StatusCode != http.StatusOK {
		return page, refusal(response)
	}
	return page, decode(response, &page)
}

func (s *socketClient) Show(ctx context.Context, seq uint64, w io.Writer) error {
	response, err := s.ask(ctx, http.MethodGet, "/dead-letters/"+strconv.FormatUint(seq, 10), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("reading a dead letter: %w", err)
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
	body, err := json.Marshal(request)
	if err != nil {
		return journal.Progress{}, fmt.Errorf("encoding a request: %w", err)
	}
	response, err := s.ask(ctx, http.MethodPost, path, body)
	if err != nil {
		return journal.Progress{}, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	var answer admin.DeadLetterAnswer
	if err := decode(response, &answer); err != nil {
		return journal.Progress{}, err
	}
	if response.StatusCode != http.StatusOK {
		return answer.Progress, errors.New(answer.Error)
	}
	return answer.Progress, nil
}

// ask makes a request. It has no time limit: the one who asks may end it.
func (s *socketClient) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://receiver"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	response, err := s.client.Do(request)
	if opErr := new(net.OpError); errors.As(err, &opErr) && opErr.Op == "dial" {
		return nil, fmt.Errorf("no receiver answers at %s: is it running, with --buffer and this socket? (%w)", s.path, opErr.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the receiver: %w", err)
	}
	return response, nil
}

func decode(response *http.Response, into any) error {
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the receiver's answer with status %d: %w", response.StatusCode, err)
	}
	return nil
}

// refusal is what the receiver said.
func refusal(response *http.Response) error {
	var answer admin.DeadLetterAnswer
	if err := decode(response, &answer); err != nil {
		return err
	}
	return errors.New(answer.Error)
}
