package keptroutes

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const (
	source = "system/routes"
	key    = "a-signing-key"
)

func document(webhook string) []byte {
	return []byte("routes: [{name: " + webhook + ", url: 'https://a.example/" + webhook + "', keys: [" + key + "], source: s, sink: {uri: 'http://x.example'}}]")
}

func secret(webhook string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "routes"}, Data: map[string][]byte{routes.Key: document(webhook)}}
}

// receiver is what a receiver does with routes.
type receiver struct {
	table  *routing.Routes
	keeper *Keeper
	log    *logbuffer.Buffer
	stop   func()
}

func start(t *testing.T, path string, client *fake.Clientset) *receiver {
	t.Helper()
	r := &receiver{log: &logbuffer.Buffer{}}
	logger := slog.New(slog.NewTextHandler(r.log, nil))
	r.table = &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	keeper := New(path, source, r.table, logger)
	keeper.patience = 100 * time.Millisecond
	r.keeper = keeper
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = keeper.Run(ctx) })
	parts.Go(func() {
		_ = kube.WatchSecrets(ctx, fakeSecrets{client.CoreV1().Secrets("system")}, "routes", keeper, logger)
	})
	r.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	t.Cleanup(r.stop)
	return r
}

// fakeSecrets cannot begin a watch with what there is.
type fakeSecrets struct{ typedcorev1.SecretInterface }

func (fakeSecrets) IsWatchListSemanticsUnSupported() bool { return true }

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	poll.True(t, 2*time.Minute, what, condition)
}

func (r *receiver) serves(webhook string) bool {
	route, _ := r.table.Webhook(webhook)
	return route != nil
}

// loadedEverywhere reports whether all documents have the routes of a webhook.
func (r *receiver) loadedEverywhere(webhook string) bool {
	r.keeper.mu.Lock()
	defer r.keeper.mu.Unlock()
	for _, loaded := range r.keeper.documents {
		if !bytes.Equal(loaded, document(webhook)) {
			return false
		}
	}
	return true
}

// fileHas reports whether the file has the routes of a webhook. The fake API server has the same Secret under all eight names.
func fileHas(path, webhook string) bool {
	saved, err := read(path, source)
	return err == nil && bytes.Equal(saved.Documents["routes"], document(webhook))
}

// keptFile returns the path of a file with the routes of a webhook.
func keptFile(t *testing.T, webhook string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := write(path, content{Source: source, SavedAt: time.Now().Add(-time.Hour), Documents: map[string][]byte{"routes": document(webhook)}}); err != nil {
		t.Fatal(err)
	}
	return path
}

// away makes lists fail, or hang until back is closed, and afterwards work.
func away(client *fake.Clientset, hang bool, back <-chan struct{}) {
	client.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if hang {
			<-back
			return false, nil, nil
		}
		select {
		case <-back:
			return false, nil, nil
		default:
			return true, nil, errors.New("the API server is away")
		}
	})
}

func TestRoutesAreKeptWhenTheyChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), FileName)
	client := fake.NewClientset(secret("first"))
	first := start(t, path, client)
	eventually(t, "the routes are kept", func() bool { return fileHas(path, "first") })
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if _, err := client.CoreV1().Secrets("system").Update(t.Context(), secret("second"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is loaded", func() bool { return first.loadedEverywhere("second") })
	first.stop() // what changed a moment ago is kept as well
	if !fileHas(path, "second") {
		t.Error("the last change is not kept")
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	again := start(t, path, client)
	eventually(t, "the routes are loaded", again.table.Confirmed)
	again.stop()
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || after.ModTime() != before.ModTime() {
		t.Errorf("the file was written though nothing had changed, error %v", err)
	}
}

// hourOld matches the age of routes that were an hour old when the test began.
var hourOld = regexp.MustCompile(`ageSeconds=36\d\d\b`)

func TestKeptRoutesAreServedWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]bool{"it refuses": false, "it hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, back := keptFile(t, "old"), make(chan struct{})
			comeBack := sync.OnceFunc(func() { close(back) })
			client := fake.NewClientset(secret("new"))
			away(client, hang, back)
			r := start(t, path, client)
			t.Cleanup(comeBack) // before the receiver stops
			eventually(t, "the kept routes are served", r.table.Ready)
			if !r.serves("old") || r.table.Confirmed() {
				t.Error("the kept route is not served, or the routes count as those of the API server")
			}
			eventually(t, "the log says so", func() bool { return strings.Contains(r.log.String(), "serving the kept routes") })
			if log := r.log.String(); !strings.Contains(log, "level=WARN") || !hourOld.MatchString(log) || strings.Contains(log, key) {
				t.Errorf("the log is:\n%s", log)
			}
			comeBack()
			eventually(t, "the routes of the API server replace them", func() bool { return r.serves("new") && r.table.Confirmed() })
			if r.serves("old") {
				t.Error("the kept route is still served")
			}
			eventually(t, "the file is replaced", func() bool { return fileHas(path, "new") })
		})
	}
}

// Without a Secret there are no routes, whatever was kept.
func TestSecretsThatAreGoneAreKeptNoLonger(t *testing.T) {
	t.Parallel()
	path := keptFile(t, "old")
	r := start(t, path, fake.NewClientset())
	eventually(t, "the file is removed", func() bool { _, err := os.Stat(path); return os.IsNotExist(err) })
	if r.table.Ready() {
		t.Error("ready without routes")
	}
}

// A document that is refused does not replace the last good one in the file.
func TestRefusedDocumentDoesNotReplaceTheKeptOne(t *testing.T) {
	t.Parallel()
	path := keptFile(t, "old")
	bad := secret("new")
	bad.Data[routes.Key] = []byte("nonsense")
	r := start(t, path, fake.NewClientset(bad))
	eventually(t, "the document is refused", func() bool { return strings.Contains(r.log.String(), "Refused a routes document") })
	r.stop()
	if !fileHas(path, "old") {
		t.Error("the kept routes are gone")
	}
}

func TestFileThatIsNotOfUseIsIgnored(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(keptFile(t, "old"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "it is no file of routes"},
		"foreign":         {[]byte("\x00\x01 something else"), "it is no file of routes"},
		"cut":             {good[:len(good)-1], "it is damaged"},
		"a byte changed":  {append(bytes.Clone(good[:len(good)-20]), append([]byte("x"), good[len(good)-19:]...)...), "it is damaged"},
		"newer":           {bytes.Replace(good, []byte("routes 1 "), []byte("routes 2 "), 1), "a newer receiver"},
		"another Secret":  {rewritten(t, content{Source: "other/routes", Documents: map[string][]byte{"routes": document("old")}}), `from \"other/routes\"`},
		"a bad document":  {rewritten(t, content{Source: source, Documents: map[string][]byte{"routes": []byte("nonsense")}}), "document routes"},
		"without content": {[]byte(format + " 1 " + checksum([]byte("[]")) + "\n[]"), "it is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, back := filepath.Join(t.TempDir(), FileName), make(chan struct{})
			if err := os.WriteFile(path, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			client := fake.NewClientset(secret("new"))
			away(client, false, back)
			r := start(t, path, client)
			eventually(t, "the log says why", func() bool { return strings.Contains(r.log.String(), "Ignored the kept routes") })
			if log := r.log.String(); !strings.Contains(log, test.want) || strings.Count(log, `msg="Ignored`) != 1 || r.table.Ready() {
				t.Errorf("ready %t, log:\n%s", r.table.Ready(), log)
			}
			close(back)
			eventually(t, "the file is replaced", func() bool { return fileHas(path, "new") })
		})
	}
}

func rewritten(t *testing.T, saved content) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := write(path, saved); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
