package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// user is a number, because Kubernetes cannot verify runAsNonRoot for a name.
	user = "65532:65532"
	// certificatesPath is one of the places where Go looks for the system's certificates.
	certificatesPath = "etc/ssl/certs/ca-certificates.crt"
	source           = "https://github.com/mandrill-operator/mandrill-operator"
)

// certificates returns those of public authorities, in PEM. They are from a Go module, so that every machine makes the same image.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil { // trusted within limits that a file cannot express
			continue
		}
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
	}
	return out.Bytes()
}

// layer returns a layer with one file, which nobody can write, and the folders that it is in.
func layer(name string, data []byte, mode int64) (v1.Layer, error) {
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := archive.WriteHeader(&tar.Header{Name: name[:i+1], Mode: 0o755, Typeflag: tar.TypeDir, ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
	}
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0)}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := archive.Write(data); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	var compressed bytes.Buffer // once: the library compresses whenever somebody asks
	writer, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(content.Bytes()); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(compressed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// image returns the image of a program for one architecture.
func (o options) image(p program, arch string) (v1.Image, error) {
	binary, err := p.read(o.binaries, arch)
	if err != nil {
		return nil, err
	}
	roots, err := layer(certificatesPath, certificates(), 0o444)
	if err != nil {
		return nil, fmt.Errorf("archiving the certificates: %w", err)
	}
	code, err := layer(p.name, binary, 0o555)
	if err != nil {
		return nil, fmt.Errorf("archiving the program: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: o.created}
	image, err := mutate.Append(base,
		mutate.Addendum{Layer: roots, History: v1.History{Created: created, CreatedBy: "certificates of public authorities"}},
		mutate.Addendum{Layer: code, History: v1.History{Created: created, CreatedBy: p.name + " " + o.version}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, created
	file.Config = v1.Config{
		Entrypoint: []string{path.Join("/", p.name)}, User: user, WorkingDir: "/", Labels: o.labels(p),
	}
	return mutate.ConfigFile(image, file)
}

// labels are those of https://github.com/opencontainers/image-spec/blob/main/annotations.md.
func (o options) labels(p program) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       p.name,
		"org.opencontainers.image.description": p.description,
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     o.created.Format(time.RFC3339),
	}
	if o.commit != "" {
		labels["org.opencontainers.image.revision"] = o.commit
	}
	return labels
}

// index returns the image of a program for all architectures, and its parts in their order.
func (o options) index(p program) (v1.ImageIndex, []v1.Image, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var images []v1.Image
	for _, arch := range o.archs {
		image, err := o.image(p, arch)
		if err != nil {
			return nil, nil, err
		}
		platform := &v1.Platform{OS: "linux", Architecture: arch}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		images = append(images, image)
	}
	annotated, ok := mutate.Annotations(index, o.labels(p)).(v1.ImageIndex)
	if !ok {
		return nil, nil, fmt.Errorf("annotating the index of %s", p.name)
	}
	return annotated, images, nil
}
