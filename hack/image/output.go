package main

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// build writes the images of all programs, and lists their sizes and digests:
//
//	images/NAME-ARCH.tar    for one platform, as docker load and ctr images import read it
//	oci/NAME                for all platforms, an OCI layout
//	oci/NAME.tar            the same as an archive
//	images.txt              REPO/NAME:VERSION@DIGEST of each image, one a line
//	platforms.txt           NAME ARCH REPO/NAME@DIGEST of each image and architecture, one a line
func (o options) build(ctx context.Context, stdout io.Writer) error {
	if err := errors.Join(os.RemoveAll(filepath.Join(o.out, "images")), os.RemoveAll(filepath.Join(o.out, "oci"))); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.out, "images"), 0o750); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%-18s %-6s %10s %10s %9s\n", "image", "arch", "compressed", "program", "limit")
	var digests, platforms strings.Builder
	var large []error
	for _, p := range o.programs {
		index, images, err := o.index(p)
		if err != nil {
			return fmt.Errorf("making the image of %s: %w", p.name, err)
		}
		for i, image := range images {
			if err := o.writeArchive(p, o.archs[i], image); err != nil {
				return err
			}
			large = append(large, o.report(stdout, p, o.archs[i], image))
			digest, err := image.Digest()
			if err != nil {
				return err
			}
			fmt.Fprintf(&platforms, "%s %s %s/%s@%s\n", p.name, o.archs[i], o.published(), p.name, digest)
		}
		reference, err := o.publish(ctx, p, index)
		if err != nil {
			return err
		}
		digests.WriteString(reference + "\n")
	}
	err := errors.Join(os.WriteFile(filepath.Join(o.out, "images.txt"), []byte(digests.String()), 0o600),
		os.WriteFile(filepath.Join(o.out, "platforms.txt"), []byte(platforms.String()), 0o600))
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, "\n", digests.String())
	return errors.Join(large...)
}

// report prints the size of an image and returns an error if it is above its limit.
func (o options) report(stdout io.Writer, p program, arch string, image v1.Image) error {
	size, err := compressedSize(image)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(o.binaries, "linux_"+arch, p.name))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%-18s %-6s %7.1f MB %7.1f MB %6d MB\n", p.name, arch, float64(size)/megabyte, float64(info.Size())/megabyte, p.limit/megabyte)
	if size > p.limit {
		return fmt.Errorf("the image of %s for %s has %d bytes, more than its limit of %d", p.name, arch, size, p.limit)
	}
	return nil
}

// compressedSize is how many bytes a node downloads.
func compressedSize(image v1.Image) (int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := image.Size() // of the manifest
	if err != nil {
		return 0, err
	}
	size += manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

func (o options) writeArchive(p program, arch string, image v1.Image) error {
	tag, err := name.NewTag(o.repo + "/" + p.name + ":" + o.version)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(filepath.Join(o.out, "images", p.name+"-"+arch+".tar"), tag, image)
}

// publish writes an index as a layout and an archive, pushes it if it should, and returns its reference with its digest.
func (o options) publish(ctx context.Context, p program, index v1.ImageIndex) (string, error) {
	folder := filepath.Join(o.out, "oci", p.name)
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return "", err
	}
	names := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.version})
	if err := written.AppendIndex(index, names); err != nil {
		return "", err
	}
	if err := archiveFolder(folder, folder+".tar"); err != nil {
		return "", err
	}
	tag, err := name.NewTag(o.published() + "/" + p.name + ":" + o.version)
	if err != nil {
		return "", err
	}
	if o.push != "" {
		if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return "", fmt.Errorf("pushing %s: %w", tag, err)
		}
	}
	digest, err := index.Digest()
	return tag.String() + "@" + digest.String(), err
}

// published is the prefix of names under which the images are found: where they are pushed to, if they are.
func (o options) published() string { return cmp.Or(o.push, o.repo) }

// archiveFolder writes a folder's files as an archive that depends on nothing but their names and contents.
func archiveFolder(folder, to string) (err error) {
	file, err := os.Create(to) //nolint:gosec // below the builder's folder
	if err != nil {
		return err
	}
	archive := tar.NewWriter(file)
	defer func() { err = errors.Join(err, archive.Close(), file.Close()) }()
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error { // in the order of names
		if err != nil || path == folder {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return archive.WriteHeader(&tar.Header{Name: filepath.ToSlash(relative) + "/", Mode: 0o755, Typeflag: tar.TypeDir})
		}
		data, err := os.ReadFile(path) //nolint:gosec // below the builder's folder
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(relative), Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
}
