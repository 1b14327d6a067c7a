package main

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// listenOn opens a socket.
func listenOn(t *testing.T, path string) (net.Listener, error) {
	t.Helper()
	listener, err := (&adminSocket{path: path, chosen: true}).listen(t.Context())
	if err == nil {
		t.Cleanup(func() { _ = listener.Close() })
	}
	return listener, err
}

func TestAdminSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := listenOn(t, path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v; want a socket for its owner only", info.Mode(), err)
	}
	if _, err := listenOn(t, path); err == nil || !strings.Contains(err.Error(), "another process listens on "+path) {
		t.Errorf("a second one: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first one has stopped listening: %v", err)
	} else {
		_ = conn.Close()
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if listener, err = listenOn(t, path); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenOn(t, path); err == nil || !strings.Contains(err.Error(), "is not a socket: remove it") {
		t.Errorf("in place of a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file has changed: %q, %v", text, err)
	}
	if _, err := listenOn(t, filepath.Join(path, "x")); err == nil {
		t.Error("a socket was opened below a file")
	}
	if _, err := listenOn(t, filepath.Join(filepath.Dir(path), "missing", "x")); err == nil || !strings.Contains(err.Error(), "opening the admin socket") {
		t.Errorf("in a missing directory: %v", err)
	}
}

func TestAdminSocketFlags(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", maxSocketPath)
	for _, test := range []struct {
		args       []string
		want, path string
	}{
		{args: nil},
		{args: []string{"--admin-socket=/a"}, path: "/a"},
		{args: []string{"--buffer=embedded", "--buffer-dir=/b"}, path: "/b/admin.sock"},
		{args: []string{"--buffer=embedded", "--buffer-dir=/b", "--admin-socket=/run/a"}, path: "/run/a"},
		{args: []string{"--buffer=embedded", "--buffer-dir=" + long}, want: "the system allows 107: give a shorter one, such as --admin-socket=/run/receiver/admin.sock"},
		{args: []string{"--buffer=embedded", "--buffer-dir=" + long, "--admin-socket=/run/a"}, path: "/run/a"},
		{args: []string{"--buffer=embedded", "--buffer-dir=/b", "--admin-socket=" + long}, want: "has 108 bytes"},
	} {
		o, err := parseFlags(append([]string{"--config=routes.yaml"}, test.args...), unset)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80v: got error %v, want one with %q", test.args, err, test.want)
		}
		if path := ""; err == nil {
			if o.admin != nil {
				path = o.admin.path
			}
			if path != test.path {
				t.Errorf("%.80v: got %q, want %q", test.args, path, test.path)
			}
		}
	}
	if err := (*adminSocket)(nil).serve(nil, slog.Default())(context.Background()); err != nil {
		t.Errorf("none: %v", err)
	}
	if len(syscall.RawSockaddrUnix{}.Path) != 108 {
		t.Error("the documentation says 107 bytes")
	}
}
