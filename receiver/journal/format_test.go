package journal_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// filesOf returns the contents of all files below a directory.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A buffer that a newer receiver has written is left as it is, and the error says what to do.
func TestBufferOfANewerFormatIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", "1"))
	o.stop()
	if err := os.WriteFile(filepath.Join(dir, "format"), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := filesOf(t, dir)
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	j := journal.New(journal.Options{Engine: &engine.Embedded{Dir: dir, Reserve: limits.Reserve, Logger: logger}, Limits: limits, Logger: logger})
	if err := j.Run(t.Context()); !errors.As(err, new(*journal.ConfigError)) || !strings.Contains(err.Error(), `format "2"`) {
		t.Errorf("got %v, want an error that names the format", err)
	}
	if diff := cmp.Diff(before, filesOf(t, dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

func TestBufferInNATSOfANewerFormatIsLeftAlone(t *testing.T) {
	t.Parallel()
	external := newExternal(t)
	options, _ := shared(t, external.url())
	o := run(t, journal.New(options))
	o.append(batch("shop/a", "1"))
	o.stop()
	state, err := external.client().KeyValue(t.Context(), "mandrill-state")
	if err == nil {
		_, err = state.PutString(t.Context(), "format", "3")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.New(options).Run(t.Context()); !errors.As(err, new(*journal.ConfigError)) || !strings.Contains(err.Error(), `format "3"`) {
		t.Errorf("got %v, want an error that names the format", err)
	}
}

// A message in an encoding that this receiver does not know is not damaged: a newer one may have stored it meanwhile.
func TestMessageOfANewerReceiverIsNotDropped(t *testing.T) {
	t.Parallel()
	external := newExternal(t)
	options, _ := shared(t, external.url())
	o := run(t, journal.New(options))
	o.append(batch("shop/a", "1"))
	msg, err := external.batches().GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	newer := nats.NewMsg(msg.Subject)
	newer.Header, newer.Data = msg.Header, msg.Data
	newer.Header.Set("Mandrill-Format", "columns")
	newer.Header.Del("Nats-Msg-Id")
	if _, err := external.client().PublishMsg(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	o.work(func(ctx context.Context, consumer *journal.Consumer) {
		if _, err := consumer.Next(ctx, "shop/a", 2); err == nil || !strings.Contains(err.Error(), "upgrade this receiver") {
			t.Errorf("got %v, want an error that says to upgrade", err)
		}
	})
	if _, err := external.batches().GetMsg(t.Context(), 2); err != nil {
		t.Errorf("the message is gone: %v", err)
	}
}
