package apiserver_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
)

// loader remembers the documents it was given.
type loader struct {
	mu        sync.Mutex
	documents []string
	complete  int // how many documents there were when all had been loaded, -1 before
}

func (l *loader) Load(name string, document []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.documents = append(l.documents, name+": "+string(document))
	return nil
}

func (l *loader) Complete() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complete = len(l.documents)
}

func (l *loader) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.documents) == 0 {
		return ""
	}
	return l.documents[len(l.documents)-1]
}

// The Secret may appear late, change, lose its document and be deleted: loaded routes stay until there are new ones.
func TestWatchSecrets(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	secrets, err := kube.NewSecrets(environment.Config, namespace)
	if err != nil {
		t.Fatal(err)
	}
	loaded := &loader{complete: -1}
	secret := func(name, key, document string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: map[string]string{key: document}}
	}
	if err := admin.Create(t.Context(), secret("routes-7", routes.Key, "early")); err != nil {
		t.Fatal(err)
	}
	background(t, "watch", func(ctx context.Context) error {
		return kube.WatchSecrets(ctx, secrets, "routes", loaded, slog.New(slog.DiscardHandler))
	})
	apply := func(write func() error, want string) {
		t.Helper()
		if err := write(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the document arrives", func() error {
			if got := loaded.last(); got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
	}
	eventually(t, "all documents are loaded", func() error {
		loaded.mu.Lock()
		defer loaded.mu.Unlock()
		if loaded.complete != 1 {
			return fmt.Errorf("complete with %d documents", loaded.complete)
		}
		return nil
	})
	apply(func() error { return admin.Create(t.Context(), secret("other", routes.Key, "another's")) }, "routes-7: early")
	apply(func() error { return admin.Create(t.Context(), secret("routes", routes.Key, "first")) }, "routes: first")
	apply(func() error { return admin.Update(t.Context(), secret("routes", routes.Key, "second")) }, "routes: second")
	apply(func() error { return admin.Create(t.Context(), secret("routes-1", routes.Key, "more")) }, "routes-1: more")
	replaced := secret("routes", "nothing", "x")
	apply(func() error { return admin.Update(t.Context(), replaced) }, "routes-1: more")
	apply(func() error { return admin.Delete(t.Context(), replaced) }, "routes-1: more")
	apply(func() error { return admin.Create(t.Context(), secret("routes", routes.Key, "third")) }, "routes: third")
	loaded.mu.Lock()
	defer loaded.mu.Unlock()
	if len(loaded.documents) != 5 {
		t.Errorf("the documents were %q, want 5", loaded.documents)
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	if namespace, name, err := kube.ParseName("a/b"); err != nil || namespace != "a" || name != "b" {
		t.Errorf("got %q, %q, %v", namespace, name, err)
	}
	for _, text := range []string{"", "a", "a/", "/b", "a/b/c"} {
		if _, _, err := kube.ParseName(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
