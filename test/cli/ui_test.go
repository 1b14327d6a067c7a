package cli_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

var pageURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/(\?key=[A-Z2-7]+)?`)

// The address that ui prints has the page of all receivers, or with --pod that of one, until the person ends it.
func TestUILeadsToThePage(t *testing.T) {
	s := newStack(t)
	webhook := s.webhook()
	s.leadsToThePage(webhook.Namespace, "ui", "--pod", s.podName)
	out := s.leadsToThePage(webhook.Namespace, "ui")
	s.documented("ui", webhook.Namespace, "kubectl mandrill ui", result{out: pageURL.ReplaceAllString(out, forwardedPage)})
}

// leadsToThePage opens the address that a command prints, and returns what it has printed.
func (s *stack) leadsToThePage(namespace string, args ...string) string {
	t := s.t
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	var out, errOut logbuffer.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int)
	go func() {
		ended <- cli.Main(ctx, s.env(namespace, &out, &errOut, localPods{}), args)
	}()
	s.eventually("the page is shown", func() error {
		address := pageURL.FindString(out.String())
		if address == "" {
			return errors.New(errOut.String())
		}
		response, err := browser.Get(address)
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
	return out.String()
}
