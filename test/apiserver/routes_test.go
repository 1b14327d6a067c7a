package apiserver_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
)

// loader remembers the documents it was given.
type loader struct {
	mu        sync.Mutex
	documents []string
}

func (l *loader) Load(document []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.documents = append(l.documents, string(document))
	return nil
}

func (l *loader) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.documents) == 0 {
		return ""
	}
	return l.documents[len(l.documents)-1]
}

// The Secret may come late, change, lose its document and go: what was loaded stays until there is something new.
func TestWatchSecret(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	clientset, err := kubernetes.NewForConfig(environment.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded := &loader{}
	background(t, "watch", func(ctx context.Context) error {
		return kube.WatchSecret(ctx, clientset, namespace, "routes", loaded, slog.New(slog.DiscardHandler))
	})
	secret := func(name, key, document string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: map[string]string{key: document}}
	}
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
	apply(func() error { return admin.Create(t.Context(), secret("other", routes.Key, "another's")) }, "")
	apply(func() error { return admin.Create(t.Context(), secret("routes", routes.Key, "first")) }, "first")
	apply(func() error { return admin.Update(t.Context(), secret("routes", routes.Key, "second")) }, "second")
	replaced := secret("routes", "nothing", "x")
	apply(func() error { return admin.Update(t.Context(), replaced) }, "second")
	apply(func() error { return admin.Delete(t.Context(), replaced) }, "second")
	apply(func() error { return admin.Create(t.Context(), secret("routes", routes.Key, "third")) }, "third")
	if want := 3; len(loaded.documents) != want {
		t.Errorf("%d documents were loaded, want %d: %q", len(loaded.documents), want, loaded.documents)
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
