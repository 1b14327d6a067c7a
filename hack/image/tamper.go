package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// tamper pushes a changed copy of an image, and copies of its signatures and attestations that refer to the changed image. This is
// what an attacker can do who may write to the registry and has no key.
func tamper(ctx context.Context, from, to string) error {
	original, err := name.ParseReference(from)
	if err != nil {
		return err
	}
	target, err := name.NewTag(to)
	if err != nil {
		return err
	}
	index, err := remote.Index(original, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	changed, ok := mutate.Annotations(index, map[string]string{"tampered": "true"}).(v1.ImageIndex)
	if !ok {
		return errors.New("changing the index")
	}
	if err := remote.WriteIndex(target, changed, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing %s: %w", to, err)
	}
	copied, err := copyReferrers(ctx, original, index, changed)
	if err == nil && copied == 0 {
		return fmt.Errorf("%s has no signature", from)
	}
	return err
}

// copyReferrers makes everything that refers to one index refer to another, in the same repository.
func copyReferrers(ctx context.Context, original name.Reference, from, to v1.ImageIndex) (copied int, err error) {
	digest, err := from.Digest()
	if err != nil {
		return 0, err
	}
	subject, err := subjectOf(to)
	if err != nil {
		return 0, err
	}
	repo := original.Context()
	list, err := remote.Referrers(repo.Digest(digest.String()), remote.WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("listing what refers to %s: %w", original, err)
	}
	manifest, err := list.IndexManifest()
	if err != nil {
		return 0, err
	}
	for _, descriptor := range manifest.Manifests {
		signature, err := remote.Image(repo.Digest(descriptor.Digest.String()), remote.WithContext(ctx))
		if err != nil {
			return copied, err
		}
		moved, ok := mutate.Subject(signature, subject).(v1.Image)
		if !ok {
			return copied, errors.New("changing the subject of a signature")
		}
		digest, err := moved.Digest()
		if err != nil {
			return copied, err
		}
		if err := remote.Write(repo.Digest(digest.String()), moved, remote.WithContext(ctx)); err != nil {
			return copied, fmt.Errorf("pushing a signature: %w", err)
		}
		copied++
	}
	return copied, nil
}

func subjectOf(index v1.ImageIndex) (v1.Descriptor, error) {
	mediaType, err := index.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := index.Size()
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, err
}
