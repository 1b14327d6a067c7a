package buffers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/buffers"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

// many is how many dead letters a buffer has.
const many = 100_000

// programs are pods in which a function runs the receiver's subcommands.
type programs struct {
	access.Pods
	run func(ctx context.Context, pod string, command []string, stdout io.Writer) error
}

func (p programs) Run(ctx context.Context, receiver access.Receiver, command []string, _ io.Reader, stdout io.Writer) error {
	return p.run(ctx, receiver.Pod, command, stdout)
}

// watched keeps the first line that is printed, and counts the others.
type watched struct {
	mu    sync.Mutex
	first chan struct{} // closed once there is a line
	text  bytes.Buffer  // the beginning
	lines int
}

func newWatched() *watched { return &watched{first: make(chan struct{})} }

func (w *watched) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines == 0 && bytes.ContainsRune(data, '\n') {
		close(w.first)
	}
	w.lines += bytes.Count(data, []byte("\n"))
	if w.text.Len() < 1<<16 {
		_, _ = w.text.Write(data)
	}
	return len(data), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// execute runs a command over the buffers of two receivers.
func execute(ctx context.Context, t *testing.T, out, errOut io.Writer, run func(ctx context.Context, pod string, command []string, stdout io.Writer) error, args ...string) error {
	t.Helper()
	scheme, err := access.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, name := range []string{"r-0", "r-1"} {
		builder = builder.WithObjects(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name, Labels: map[string]string{"app.kubernetes.io/component": "receiver"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "receiver", Args: []string{"--routes-secret=system/routes", "--buffer=embedded", "--buffer-dir=/buffer"},
			}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				Name: "receiver", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}}},
		})
	}
	found := builder.Build()
	env := &access.Env{In: strings.NewReader(""), Out: out, Err: errOut, Now: time.Now, Connect: func(*access.Flags) (*access.Cluster, error) {
		return &access.Cluster{Client: found, Pods: programs{run: run}, Namespace: "shop"}, nil
	}}
	root := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(buffers.NewDeadLetters(env)) //nolint:contextcheck // it gets it from ExecuteContext
	root.SetArgs(append([]string{"dead-letters"}, args...))
	return root.ExecuteContext(ctx)
}

// writeLetters writes dead letters as a receiver prints them.
func writeLetters(w io.Writer, from, to int) error {
	for seq := from; seq <= to; seq++ {
		before := ",\n"
		if seq == 1 {
			before = "[\n"
		}
		_, err := fmt.Fprintf(w, `%s  {"seq":%d,"webhook":"shop/a","type":"com.mandrill.message.send","id":"0123456789abcdef0123456789abcdef","reason":"refused",`+
			`"status":422,"attempts":1,"received":"2026-01-02T03:04:05Z","deadLettered":"2026-01-02T03:04:05Z"}`, before, seq)
		if err != nil {
			return err
		}
	}
	if to == many {
		_, err := io.WriteString(w, "\n]\n")
		return err
	}
	return nil
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// The first of 200,000 dead letters in two buffers are printed before the last ones come, and memory does not grow with them.
func TestManyDeadLettersAreListedAsTheyCome(t *testing.T) { //nolint:paralleltest // it measures memory
	for _, format := range []string{"table", "json"} {
		out, errOut, before, peak := newWatched(), newWatched(), heap(), uint64(0)
		err := execute(t.Context(), t, out, errOut, func(_ context.Context, pod string, _ []string, stdout io.Writer) error {
			if err := writeLetters(stdout, 1, many/10); err != nil {
				return err
			}
			if pod == "r-0" {
				select {
				case <-out.first:
				case <-time.After(time.Minute):
					t.Errorf("%s: nothing is printed after %d dead letters", format, many/10)
				}
			}
			err := writeLetters(stdout, many/10+1, many)
			peak = max(peak, heap())
			return err
		}, "list", "--limit=0", "-o", format)
		if err != nil || errOut.String() != "" {
			t.Fatalf("%s: %v, %s", format, err, errOut)
		}
		if out.lines < 2*many {
			t.Errorf("%s: %d lines", format, out.lines)
		}
		if text := out.String(); format == "table" && (strings.Count(text, "NAME") != 1 || !strings.Contains(text, "r-0/1 ")) {
			t.Errorf("the table begins with %.300s", text)
		}
		if grown := int64(peak) - int64(before); grown > 16<<20 {
			t.Errorf("%s: the heap grew by %d MiB", format, grown>>20)
		}
	}
}

// A limit holds over all buffers, and each is asked for no more than that.
func TestALimitHoldsOverAllBuffers(t *testing.T) {
	t.Parallel()
	out := newWatched()
	err := execute(t.Context(), t, out, io.Discard, func(_ context.Context, _ string, command []string, stdout io.Writer) error {
		if !slices.Contains(command, "--limit=4") {
			t.Errorf("it asks %q", command)
		}
		return errors.Join(writeLetters(stdout, 1, 2), writeEnd(stdout))
	}, "list", "--limit=3")
	if text := out.String(); err != nil || strings.Count(text, "shop/a") != 3 || !strings.Contains(text, "There are more than these 3") {
		t.Errorf("got %v, %s", err, text)
	}
}

func writeEnd(w io.Writer) error {
	_, err := io.WriteString(w, "\n]\n")
	return err
}

// The number of all buffers is printed although the receivers print how far they are, and after an interruption how many were done.
func TestInterruptedWorkSaysWhatIsDone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		interrupt  bool
		want, fail string
	}{
		"to the end":  {false, "redrove 200000 dead letters\n", ""},
		"interrupted": {true, "redrove 101000 dead letters\n", "interrupted: the dead letters that are left are still there"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := newWatched()
		err := execute(ctx, t, out, io.Discard, func(ctx context.Context, pod string, command []string, stdout io.Writer) error {
			if !slices.Contains(command, "--progress") {
				t.Errorf("it asks %q", command)
			}
			for done := 1000; done < many; done += 1000 {
				if _, err := fmt.Fprintf(stdout, "{\"deadLetters\":%d,\"dryRun\":false,\"more\":true}\n", done); err != nil {
					return err
				}
				if test.interrupt && pod == "r-1" {
					cancel()
					return ctx.Err()
				}
			}
			_, err := fmt.Fprintf(stdout, "{\"deadLetters\":%d,\"dryRun\":false}\n", many)
			return err
		}, "redrive", "--all")
		cancel()
		if out.String() != test.want || (err == nil) != (test.fail == "") || err != nil && !strings.Contains(err.Error(), test.fail) {
			t.Errorf("%s: got %v, %s", name, err, out)
		}
	}
}

// A receiver that says how far it is may take as long as it needs. One that says nothing is given up after the timeout.
func TestAReceiverThatWorksIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pause  time.Duration
		status int
		want   string
	}{
		"it works":        {4 * time.Minute, output.StatusOK, "purged 40 dead letters\n"},
		"it says nothing": {6 * time.Minute, output.StatusIncomplete, "purged 0 dead letters\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			out, errOut := newWatched(), newWatched()
			err := execute(t.Context(), t, out, errOut, func(ctx context.Context, _ string, _ []string, stdout io.Writer) error {
				for done := range 20 {
					select {
					case <-time.After(test.pause):
					case <-ctx.Done():
						return ctx.Err()
					}
					if _, err := fmt.Fprintf(stdout, "{\"deadLetters\":%d,\"dryRun\":false,\"more\":%t}\n", done+1, done < 19); err != nil {
						return err
					}
				}
				return nil
			}, "purge", "--all", "--yes", "--timeout=5m")
			if output.StatusOf(err) != test.status || out.String() != test.want || test.status != output.StatusOK && !strings.Contains(errOut.String(), "did not answer in time") {
				t.Errorf("%s: got %v, %s%s", name, err, out, errOut)
			}
		})
	}
}

// What a receiver has printed before it fails counts, and an answer that cannot be read is named.
func TestAnswersThatEndTooEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		err    error
		status int
		want   string
	}{
		"nothing":       {"", nil, output.StatusOK, ""},
		"fails":         {"[\n  {\"seq\":1}", errors.New("the buffer is gone"), output.StatusIncomplete, "the buffer is gone"},
		"ends":          {"[\n  {\"seq\":1}", nil, output.StatusFailed, "system/r-0 answered what cannot be read"},
		"something":     {"no dead letters\n", nil, output.StatusFailed, "system/r-0 answered what cannot be read"},
		"another field": {`[{"seq":1,"added":{"later":true}}]`, nil, output.StatusOK, ""},
	} {
		errOut := newWatched()
		err := execute(t.Context(), t, io.Discard, errOut, func(_ context.Context, _ string, _ []string, stdout io.Writer) error {
			_, _ = io.WriteString(stdout, test.answer)
			return test.err
		}, "list")
		text := errOut.String()
		if err != nil {
			text += err.Error()
		}
		if output.StatusOf(err) != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s: got %v, %s", name, err, text)
		}
	}
}
