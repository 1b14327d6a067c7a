package cli_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

var pageURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/`)

// The address that ui prints has the page of the receiver, until the person ends it.
func TestUILeadsToThePage(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	var out, errOut lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int)
	go func() {
		ended <- cli.Main(ctx, s.env(webhook.Namespace, &out, &errOut, localPods{}), []string{"ui", "--pod", s.podName})
	}()
	s.eventually("the page is shown", func() error {
		address := pageURL.FindString(out.String())
		if address == "" {
			return errors.New(errOut.String())
		}
		response, err := http.Get(address)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(text), "<html") {
			return errors.Join(err, errors.New(response.Status), errors.New(string(text)))
		}
		return nil
	})
	cancel()
	if status := <-ended; status != output.StatusOK || errOut.String() != "" {
		t.Errorf("it ends with %d: %s", status, errOut.String())
	}
	s.documented("ui", webhook.Namespace, "kubectl mandrill ui", result{out: pageURL.ReplaceAllString(out.String(), forwardedPage)})
}
