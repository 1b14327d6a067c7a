package main

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pushArchive pushes the image of a docker-archive, such as hack/cluster/image.sh makes.
func pushArchive(ctx context.Context, path, reference string) error {
	tag, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return err
	}
	return remote.Write(tag, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}
