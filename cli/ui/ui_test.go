package ui_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/ui"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// forwards are pods whose ports a function forwards.
type forwards struct {
	access.Pods
	forward func(ctx context.Context, receiver access.Receiver, local, remote int, ready func(int)) error
}

func (f forwards) Forward(ctx context.Context, receiver access.Receiver, local, remote int, ready func(int)) error {
	return f.forward(ctx, receiver, local, remote, ready)
}

// Tunnel makes connections as often as the function forwards ports. They lead to a page that answers with the receiver's name.
func (f forwards) Tunnel(ctx context.Context, receiver access.Receiver, remote int, ready func(access.Dial)) error {
	return f.forward(ctx, receiver, 0, remote, func(int) {
		ready(func(context.Context) (net.Conn, error) {
			client, server := net.Pipe()
			go serveName(server, receiver.Pod)
			return client, nil
		})
	})
}

// serveName answers a request with an event that has a name.
func serveName(conn net.Conn, name string) {
	defer conn.Close()
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
		return
	}
	body := fmt.Sprintf(`{"events": [{"id": %q, "time": "2026-01-01T00:00:00Z"}]}`, name)
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// printed is what several receivers write.
type printed struct{ logbuffer.Buffer }

func (o *printed) lines() []string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	slices.Sort(lines)
	return lines
}

type fixture struct {
	out, err printed
	env      *access.Env
}

// newFixture has a receiver for each argument of its container.
func newFixture(t *testing.T, forward func(ctx context.Context, receiver access.Receiver, local, remote int, ready func(int)) error, args ...string) *fixture {
	t.Helper()
	scheme, err := access.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for i, arg := range args {
		builder = builder.WithObjects(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "r-" + string(rune('0'+i)), Labels: map[string]string{"app.kubernetes.io/component": "receiver"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "receiver", Args: []string{"--routes-secret=system/routes", arg}}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				Name: "receiver", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}}},
		})
	}
	f, found := &fixture{}, builder.Build()
	f.env = &access.Env{Out: &f.out, Err: &f.err, Connect: func(*access.Flags) (*access.Cluster, error) {
		return &access.Cluster{Client: found, Pods: forwards{forward: forward}, Namespace: "shop"}, nil
	}}
	return f
}

func (f *fixture) run(ctx context.Context, args ...string) error {
	command := ui.New(f.env) //nolint:contextcheck // it gets it from ExecuteContext
	command.SetArgs(args)
	command.SilenceErrors, command.SilenceUsage = true, true
	return command.ExecuteContext(ctx)
}

// With --pod the page of one receiver has an address, until the person ends it.
func TestThePageOfAPodHasAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(ctx context.Context, _ access.Receiver, local, remote int, ready func(int)) error {
			if remote != 8089 {
				t.Errorf("the page is at %d", remote)
			}
			ready(local)
			<-ctx.Done()
			return nil
		}, "--page-listen=127.0.0.1:8089", "--log-level=info", "--page-listen=:8089")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.run(ctx, "--port=9000", "--pod=r-2") }()
		synctest.Wait()
		if got := f.out.lines(); !slices.Equal(got, []string{"http://127.0.0.1:9000/  system/r-2"}) {
			t.Errorf("got %q", got)
		}
		cancel()
		if err := <-ended; err != nil || f.err.String() != "" {
			t.Errorf("it ends with %v: %s", err, f.err.String())
		}
	})
}

// A receiver without a page is named, with what switches the page on.
func TestReceiversWithoutAPage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pods []string
		args []string
		want string
	}{
		"none":      {[]string{"--log-level=info"}, nil, "no receiver serves the page: set receiver.page.enabled=true in the values of the chart, or run the receivers with --page-listen="},
		"this one":  {[]string{"--log-level=info", "--page-listen=:8089"}, []string{"--pod=r-0"}, "the receiver system/r-0 serves no page: "},
		"no pod":    {[]string{"--page-listen=:8089"}, []string{"--pod=x"}, "there is no receiver in a pod x: there are r-0"},
		"elsewhere": {[]string{"--page-listen=192.0.2.1:8089"}, nil, "which a forwarded port does not reach"},
		"port":      {[]string{"--page-listen=:8089"}, []string{"--port=65536"}, "--port must be a number"},
	} {
		f := newFixture(t, nil, test.pods...)
		if err := f.run(t.Context(), test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// After a lost connection the page is at the same address again. A receiver that was never reached is not tried again.
func TestALostConnectionIsMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		calls := 0
		f := newFixture(t, func(_ context.Context, _ access.Receiver, local, _ int, ready func(int)) error {
			switch calls++; calls {
			case 1:
				ready(1234)
			case 2:
				return errors.New("the pod starts")
			case 3:
				if local != 1234 {
					t.Errorf("the port is %d now", local)
				}
				ready(local)
				cancel()
			}
			return access.ErrLost
		}, "--page-listen=:8089")
		if err := f.run(ctx, "--pod=r-0"); err != nil || calls != 3 {
			t.Errorf("got %v after %d calls", err, calls)
		}
		if got := f.out.lines(); !slices.Equal(got, []string{"http://127.0.0.1:1234/  system/r-0"}) {
			t.Errorf("it says %q", got)
		}
		if got := f.err.lines(); !slices.Equal(got, []string{"system/r-0 can be reached again", "system/r-0: the connection was lost: trying again"}) {
			t.Errorf("it warns %q", got)
		}
	})
	never := errors.New("no way")
	fail := func(context.Context, access.Receiver, int, int, func(int)) error { return never }
	if err := newFixture(t, fail, "--page-listen=:8089").run(t.Context(), "--pod=r-0"); !errors.Is(err, never) {
		t.Errorf("never reached: got %v", err)
	}
}
