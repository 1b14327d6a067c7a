package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// newOptions returns options for one program, for which this test program stands.
func newOptions(t *testing.T) options {
	t.Helper()
	if runtime.GOOS != "linux" || machines[runtime.GOARCH] == 0 {
		t.Skip("the test program stands for a program of an image")
	}
	o := options{
		binaries: t.TempDir(), out: t.TempDir(), repo: "example.com/shop", version: "v1.2.3", commit: "c0ffee",
		created: time.Unix(1_700_000_000, 0).UTC(), archs: []string{runtime.GOARCH}, programs: []program{{"receiver", "Receives", 100 * megabyte}},
	}
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	o.put(t, binary)
	return o
}

func (o options) put(t *testing.T, binary []byte) {
	t.Helper()
	folder := filepath.Join(o.binaries, "linux_"+runtime.GOARCH)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "receiver"), binary, 0o600); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, image v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for archive := tar.NewReader(content); ; {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found[header.Name] = header
		}
	}
	return found
}

// An image has a program that nobody can change and certificates, and runs as a user with a number and without a name.
func TestImageHasOnlyItsProgram(t *testing.T) {
	t.Parallel()
	o := newOptions(t)
	image, err := o.image(o.programs[0], runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	files := contents(t, image)
	var names []string
	for name, header := range files {
		names = append(names, name)
		if header.Uid != 0 || header.Gid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("%s belongs to %d:%d with mode %o", name, header.Uid, header.Gid, header.Mode)
		}
	}
	slices.Sort(names)
	if want := []string{"etc/", "etc/ssl/", "etc/ssl/certs/", certificatesPath, "receiver"}; !slices.Equal(names, want) {
		t.Errorf("the image has %v, want %v", names, want)
	}
	if files["receiver"].Mode != 0o555 {
		t.Errorf("the program has mode %o", files["receiver"].Mode)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := file.Config; got.User != "65532:65532" || !slices.Equal(got.Entrypoint, []string{"/receiver"}) || len(got.Cmd) > 0 {
		t.Errorf("configuration: %+v", got)
	}
	if file.OS != "linux" || file.Architecture != runtime.GOARCH || file.Config.Labels["org.opencontainers.image.revision"] != "c0ffee" {
		t.Errorf("platform and labels: %s/%s %v", file.OS, file.Architecture, file.Config.Labels)
	}
}

func TestCertificatesAreReadable(t *testing.T) {
	t.Parallel()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificates()) {
		t.Fatal("no certificate was found")
	}
	if count := bytes.Count(certificates(), []byte("BEGIN CERTIFICATE")); count < 100 {
		t.Errorf("only %d certificates", count)
	}
}

// The same inputs make the same image.
func TestImagesAreReproducible(t *testing.T) {
	t.Parallel()
	o := newOptions(t)
	var digests []string
	for range 2 {
		if err := o.build(t.Context(), io.Discard); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadFile(filepath.Join(o.out, "images.txt"))
		if err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(filepath.Join(o.out, "oci", "receiver.tar"))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, string(list)+string(archive))
	}
	if digests[0] != digests[1] {
		t.Error("two builds differ")
	}
}

// The archive has the reference that a cluster asks for, and the layout has the index that a registry gets.
func TestOutputs(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	o := newOptions(t)
	o.push = strings.TrimPrefix(server.URL, "http://") + "/pushed"
	if err := o.build(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.com/shop/receiver:v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	archived, err := tarball.ImageFromPath(filepath.Join(o.out, "images", "receiver-"+runtime.GOARCH+".tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	if files := contents(t, archived); files["receiver"] == nil {
		t.Errorf("the archive has %v", files)
	}
	pushed, err := name.ParseReference(o.push + "/receiver:v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(pushed)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	written, err := layout.ImageIndexFromPath(filepath.Join(o.out, "oci", "receiver"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := written.ImageIndex(digest); err != nil {
		t.Errorf("the layout does not have what was pushed: %v", err)
	}
	list, err := os.ReadFile(filepath.Join(o.out, "images.txt"))
	if want := pushed.String() + "@" + digest.String() + "\n"; err != nil || string(list) != want {
		t.Errorf("images.txt is %q, want %q", list, want)
	}
}

func TestImagesAboveTheirLimitFail(t *testing.T) {
	t.Parallel()
	o := newOptions(t)
	o.programs[0].limit = 1000
	if err := o.build(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "more than its limit of 1000") {
		t.Errorf("got error %v", err)
	}
}

func TestProgramsThatCannotStartAreRefused(t *testing.T) {
	t.Parallel()
	o := newOptions(t)
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(binary)
	foreign[18], foreign[19] = 0, 0xff // e_machine
	for want, data := range map[string][]byte{"not a program for Linux": []byte("#!/bin/sh\n"), "it is for": foreign} {
		o.put(t, data)
		if _, err := o.image(o.programs[0], runtime.GOARCH); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("no program with libraries")
	}
	o.put(t, shell)
	if _, err := o.image(o.programs[0], runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "needs libraries") {
		t.Errorf("a program with libraries: %v", err)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"give -version":            nil,
		"number of seconds":        {"-version", "v1", "-created", "today"},
		"unexpected argument":      {"-version", "v1", "x"},
		"at least one":             {"-version", "v1", "-archs", " "},
		"flag provided but not de": {"-size", "1"},
	} {
		if _, err := parse(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got error %v, want one with %q", args, err, want)
		}
	}
}
