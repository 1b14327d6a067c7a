package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

const (
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
	// maxToken is longer than any token of a ServiceAccount.
	maxToken = 64 << 10
)

// answerError is an answer of the operator that is not 2xx.
type answerError int

func (e answerError) Error() string {
	return fmt.Sprintf("the operator answered with status %d", int(e))
}

func isUnsupported(err error) bool {
	var answer answerError
	return errors.As(err, &answer) && answer == http.StatusNotFound
}

// post sends a report. Its errors hold no address.
func (s *Sender) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return errors.New("the operator's URL cannot be parsed")
	}
	request.Header.Set("Content-Type", "application/json")
	token, err := readToken(s.options.TokenFile)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("the operator cannot be reached: %w", sink.WithoutAddress(err))
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return answerError(response.StatusCode)
	}
	return nil
}

// readToken returns the token in a file, which the kubelet replaces before it expires. Without the file there is no token. Its errors
// do not hold the path.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := os.Open(path) //nolint:gosec // named by the administrator
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", errors.New("the file with the token for the operator cannot be read")
	}
	defer file.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, maxToken))
	if err != nil {
		return "", errors.New("the file with the token for the operator cannot be read")
	}
	token := pasted.Trim(string(data))
	if fault := pasted.KeyFault(token); token != "" && fault != "" {
		return "", errors.New("the token for the operator has " + fault)
	}
	return token, nil
}

// record counts a report, and logs when reports begin to fail and when they are accepted again.
func (s *Sender) record(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil { // the receiver stops
		return
	}
	s.options.Metrics.reports.WithLabelValues(outcomeOf(err)).Inc()
	s.outage.record(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.status.Failure = err.Error()
		return
	}
	s.status = Status{LastAccepted: time.Now()}
}
