package mandrilltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// probe checks a URL as Mandrill does before it stores it: by an unsigned HEAD and, unless the answer is exactly 200, by a
// POST of an empty array signed with the public test key.
func (s *Server) probe(ctx context.Context, target string) error {
	parsed, err := url.Parse(target)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return invalid("url", "Please enter a valid URL")
	}
	head, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
	if err != nil {
		return invalid("url", "Please enter a valid URL")
	}
	head.Header.Set("User-Agent", userAgent)
	if status, _, err := s.do(head); err == nil && status == http.StatusOK {
		return nil
	}
	post, err := NewRequest(ctx, target, target, mandrill.TestKey, Batch())
	if err != nil {
		return invalid("url", "Please enter a valid URL")
	}
	status, _, err := s.do(post)
	if err != nil {
		return invalid("url", "The URL could not be reached: "+cause(err))
	}
	if status != http.StatusOK {
		return invalid("url", fmt.Sprintf("The URL answered POST with status %d instead of 200", status))
	}
	return nil
}

// do sends a request and returns the status and the beginning of the body of the answer.
func (s *Server) do(request *http.Request) (status int, answer string, err error) {
	response, err := s.options.HTTPClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(http.MaxBytesReader(nil, response.Body, 1<<16)) // only the status counts
	return response.StatusCode, string(body.Next(maxAnswer)), response.Body.Close()
}

// cause returns the text of a transport error without the URL, which may contain a secret.
func cause(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}
