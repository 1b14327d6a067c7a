package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The changed image has another digest, and what referred to the original refers to it as well.
func TestTamperMovesSignatures(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	repo, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/receiver")
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(100, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	original, changed := repo.Tag("v1.2.3"), repo.Tag("changed")
	if err := remote.WriteIndex(original, index); err != nil {
		t.Fatal(err)
	}
	if err := tamper(t.Context(), original.String(), changed.String()); err == nil || !strings.Contains(err.Error(), "has no signature") {
		t.Errorf("an image without a signature: %v", err)
	}
	subject, err := subjectOf(index)
	if err != nil {
		t.Fatal(err)
	}
	signature, ok := mutate.Subject(empty.Image, subject).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	digest, err := signature.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repo.Digest(digest.String()), signature); err != nil {
		t.Fatal(err)
	}
	if err := tamper(t.Context(), original.String(), changed.String()); err != nil {
		t.Fatal(err)
	}
	target, err := remote.Head(changed)
	if err != nil {
		t.Fatal(err)
	}
	if target.Digest == subject.Digest {
		t.Error("the image is not changed")
	}
	referrers, err := remote.Referrers(repo.Digest(target.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := referrers.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Errorf("%d signatures, %v", len(manifest.Manifests), err)
	}
}
