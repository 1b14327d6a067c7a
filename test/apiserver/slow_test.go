package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const (
	// slowObjects is more than twice what one tenant may have under way, in reconciles and in probes: more of them only wait.
	slowObjects = 80
	// maxDelay is how much longer than without them a new object of another tenant may take.
	maxDelay = 5 * time.Second
)

// slowAPI is an emulated Mandrill that does not answer some calls of some accounts.
type slowAPI struct {
	next  http.Handler
	ended chan struct{} // closed at the end of the test

	mu    sync.Mutex
	hangs map[string]string // name of the call that hangs, by API key
	hung  map[string]int
}

func (a *slowAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var request struct{ Key string }
	_ = json.Unmarshal(body, &request)
	a.mu.Lock()
	call := a.hangs[request.Key]
	hangs := call != "" && strings.Contains(r.URL.Path, call)
	if hangs {
		a.hung[request.Key]++
	}
	a.mu.Unlock()
	if hangs {
		select {
		case <-r.Context().Done():
		case <-a.ended:
		}
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.next.ServeHTTP(w, r)
}

func (a *slowAPI) waiting(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hung[key]
}

// silence accepts connections, or takes packets, at every address of this machine and never answers. It returns its port.
func silence(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		conn, err := net.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.LocalAddr().(*net.UDPAddr).Port
	}
	listener, err := net.Listen(network, ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

// Objects of one tenant that wait for something slow do not delay a new object of another.
func TestSlowObjectsDelayNoOtherTenant(t *testing.T) {
	const addHangs, listHangs = "md-add-hangs", "md-list-hangs"
	emulator := mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey, addHangs, listHangs}, BatchInterval: time.Hour})
	t.Cleanup(emulator.Close)
	slow := &slowAPI{
		next: emulator, ended: make(chan struct{}), hung: map[string]int{},
		hangs: map[string]string{addHangs: "webhooks/add", listHangs: "webhooks/list"},
	}
	api := httptest.NewServer(slow)
	t.Cleanup(api.Close)
	names := silence(t, "udp")
	i := &installation{consumer: &consumer{}, emulator: emulator, account: emulator.Account(lifecycleKey)}
	i.consumer.Server = httptest.NewServer(i.consumer)
	t.Cleanup(i.consumer.Close)
	startOperator(t, api.URL+"/api/1.0", startReceiver(t)+"/mandrill", func(o *mandrillwebhook.Options) {
		o.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", fmt.Sprint("127.0.0.1:", names))
		}}
		for n := range slowObjects {
			o.AllowSinkHosts = append(o.AllowSinkHosts, fmt.Sprint("127.0.1.", n))
		}
	})
	t.Cleanup(func() { close(slow.ended) })
	nowhere := silence(t, "tcp")
	for _, test := range []struct {
		name, key string
		url       func(int) string
		begun     func(webhook *v1alpha1.MandrillWebhook) bool
	}{
		{"URLs of a server that does not answer", lifecycleKey, func(n int) string { return fmt.Sprintf("http://127.0.0.1:%d/%d", nowhere, n) }, probing},
		{"URLs of many servers that do not answer", lifecycleKey, func(n int) string { return fmt.Sprintf("http://127.0.1.%d:%d/", n, nowhere) }, probing},
		{"names that are not resolved", lifecycleKey, func(n int) string { return fmt.Sprintf("http://host%d.slow.example/hook", n) }, probing},
		{"an account that does not answer webhooks/add", addHangs, nil, nil},
		{"an account that does not answer webhooks/list", listHangs, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := newNamespace(t)
			createKey(t, namespace, test.key)
			before := i.timeToReady(t)
			var last *v1alpha1.MandrillWebhook
			for n := range slowObjects {
				url := ""
				if test.url != nil {
					url = test.url(n)
				}
				last = i.object(namespace, fmt.Sprint("slow-", n), url)
				create(t, last)
			}
			eventually(t, "the slow objects wait", func() error {
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(last), last); err != nil {
					return err
				}
				if test.begun == nil && slow.waiting(test.key) > 0 || test.begun != nil && test.begun(last) {
					return nil
				}
				return fmt.Errorf("the conditions are %+v", last.Status.Conditions)
			})
			if took := i.timeToReady(t); took > before+maxDelay {
				t.Errorf("a new object of another tenant is ready after %v, without the slow objects after %v", took, before)
			}
		})
	}
}

// probing reports whether the object has come to its probe.
func probing(webhook *v1alpha1.MandrillWebhook) bool {
	reason := condition(webhook, "ReceiverReady").Reason
	return reason == v1alpha1.ReasonProbing || reason == v1alpha1.ReasonRouteNotServed
}

func (i *installation) object(namespace, name, url string) *v1alpha1.MandrillWebhook {
	return &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"},
			Sink: v1alpha1.Destination{URI: i.consumer.URL}, URL: url,
		},
	}
}

// timeToReady creates objects, one after the other and each in a namespace of its own, and returns how long they take to be ready. It is
// the median, because a busy machine delays one or the other.
func (i *installation) timeToReady(t *testing.T) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 5 {
		namespace := newNamespace(t)
		createKey(t, namespace, lifecycleKey)
		start := time.Now()
		webhook := i.object(namespace, "new", "")
		create(t, webhook)
		await(t, webhook, "Ready", "True", "Succeeded")
		took = append(took, time.Since(start))
	}
	t.Logf("ready after %v", took)
	slices.Sort(took)
	return took[len(took)/2]
}
