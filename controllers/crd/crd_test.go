package crd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

type discovery struct {
	kinds []string
	err   error
}

func (d discovery) ServerResourcesForGroupVersionWithContext(context.Context, string) (*metav1.APIResourceList, error) {
	list := &metav1.APIResourceList{}
	for _, kind := range d.kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{Kind: kind})
	}
	return list, d.err
}

func TestServed(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	for name, c := range map[string]struct {
		answer discovery
		want   error
	}{
		"served":          {discovery{kinds: []string{"Other", "MandrillWebhook"}}, nil},
		"no such group":   {discovery{err: apierrors.NewNotFound(schema.GroupResource{}, "")}, ErrMissing},
		"another kind":    {discovery{kinds: []string{"Other"}}, ErrMissing},
		"API server away": {discovery{err: away}, away},
	} {
		if err := Served(t.Context(), c.answer); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// lines collects log lines.
type lines struct{ list []string }

func (l *lines) logger() logr.Logger {
	return funcr.New(func(_, args string) { l.list = append(l.list, args) }, funcr.Options{})
}

// What is waited for is logged when it changes, and now and then.
func TestWaitSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, log := time.Now(), &lines{}
		err := Wait(t.Context(), Options{Logger: log.logger(), Served: func(context.Context) error {
			switch since := time.Since(start); {
			case since < 90*time.Second:
				return errors.New("API server away")
			case since < 100*time.Second:
				return ErrMissing
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 100*time.Second || took > 102*time.Second {
			t.Errorf("it waited for %s", took)
		}
		want := []string{"API server away", "API server away", ErrMissing.Error(), "Found"}
		if len(log.list) != len(want) {
			t.Fatalf("log:\n%s", strings.Join(log.list, "\n"))
		}
		for i := range want {
			if !strings.Contains(log.list[i], want[i]) {
				t.Errorf("line %d is %s, want %s", i, log.list[i], want[i])
			}
		}
	})
}

func TestWaitIsSilentWhereNothingIsMissing(t *testing.T) {
	t.Parallel()
	log := &lines{}
	if err := Wait(t.Context(), Options{Logger: log.logger(), Served: func(context.Context) error { return nil }}); err != nil || len(log.list) > 0 {
		t.Errorf("error %v, log %v", err, log.list)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Wait(ctx, Options{Logger: logr.Discard(), Served: func(context.Context) error { return ErrMissing }}); err != nil {
			t.Error(err)
		}
	})
}

// While it waits the process is alive and not ready, and afterwards the address is free.
func TestWaitAnswersProbes(t *testing.T) {
	t.Parallel()
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer := func(path string) (int, string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return response.StatusCode, string(body)
	}
	asked := 0
	for range 2 {
		asked = 0
		err = Wait(t.Context(), Options{Logger: logr.Discard(), HealthListen: address, Interval: time.Millisecond, Served: func(context.Context) error {
			if asked++; asked == 1 {
				return ErrMissing
			}
			if status, _ := answer("/healthz"); status != http.StatusOK {
				t.Errorf("/healthz: %d", status)
			}
			if status, text := answer("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "is not installed") {
				t.Errorf("/readyz: %d %s", status, text)
			}
			return nil
		}})
		if err != nil || asked != 2 {
			t.Errorf("asked %d times, %v", asked, err)
		}
	}
	taken := Options{Logger: logr.Discard(), HealthListen: "127.0.0.1:-1", Served: func(context.Context) error { return ErrMissing }}
	if err := Wait(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "listening for health checks") {
		t.Errorf("got error %v", err)
	}
}
