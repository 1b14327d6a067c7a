package access_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// fakePods answers commands by a function.
type fakePods struct {
	access.Pods
	run func(ctx context.Context, command []string, stdout io.Writer) error
}

func (f fakePods) Run(ctx context.Context, _ access.Receiver, command []string, _ io.Reader, stdout io.Writer) error {
	return f.run(ctx, command, stdout)
}

func pod(name string, running bool, args ...string) *corev1.Pod {
	state := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	if running {
		state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name, Labels: map[string]string{"app.kubernetes.io/component": "receiver"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "receiver", Args: append([]string{"--routes-secret=system/routes"}, args...)}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "receiver", State: state}}},
	}
}

func cluster(t *testing.T, pods ...*corev1.Pod) *access.Cluster {
	t.Helper()
	scheme, err := access.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, pod := range pods {
		builder = builder.WithObjects(pod)
	}
	return &access.Cluster{Client: builder.Build()}
}

// Receivers that share a buffer count once, and the flags for it are those of the receiver.
func TestBuffersAreFoundByTheFlagsOfReceivers(t *testing.T) {
	t.Parallel()
	c := cluster(t,
		pod("embedded-0", true, "--buffer=embedded", "--buffer-dir=/buffer"), pod("embedded-1", true, "--buffer", "embedded", "--buffer-dir", "/buffer"),
		pod("cluster-0", false, "--buffer=cluster", "--buffer-dir=/buffer", "--buffer-peers=x:6222"), pod("cluster-1", true, "--buffer=cluster", "--buffer-dir=/buffer", "--buffer-peers=x:6222"),
		pod("nats-0", true, "--buffer=nats://n:4222", "--buffer-name=a", "--buffer-credentials-file=/c", "--log-level=info"), pod("nats-1", true, "--buffer=nats://n:4222", "--buffer-name=a"),
		pod("direct", true))
	foreign := pod("foreign", true)
	foreign.Spec.Containers[0].Args = nil
	if err := c.Client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	receivers, err := c.Receivers(t.Context(), &access.Flags{}, "")
	if err != nil || len(receivers) != 7 {
		t.Fatalf("%v, %v", receivers, err)
	}
	buffers := access.Buffers(receivers)
	var got []string
	for _, buffer := range buffers {
		var asked []string
		c.Pods = fakePods{run: func(_ context.Context, command []string, _ io.Writer) error {
			asked = command
			return nil
		}}
		if err := c.RunInBuffer(t.Context(), buffer, []string{"backlog", "list"}, nil, io.Discard); err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%d %s", len(buffer.Receivers), strings.Join(asked, " ")))
	}
	want := []string{
		"2 /receiver backlog list --buffer-dir=/buffer", "1 /receiver backlog list --buffer-dir=/buffer", "1 /receiver backlog list --buffer-dir=/buffer",
		"2 /receiver backlog list --buffer=nats://n:4222 --buffer-name=a --buffer-credentials-file=/c",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is in the way of asking a receiver is said in a sentence.
func TestRunExplains(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "r", errors.New("no"))
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no rights":   {forbidden, "you lack a right: create pods/exec in namespace system"},
		"too old":     {&access.ExitError{Status: 1, Stderr: "flag provided but not defined: -limit"}, "has version v0.1.0 and does not know"},
		"too new":     {&access.ExitError{Status: 1, Stderr: "receiver: there is no subcommand backlog"}, "use the kubectl-mandrill of its version, or update it"},
		"its own":     {&access.ExitError{Status: 1, Stderr: "receiver: nothing waits at batch:1"}, "system/r: nothing waits at batch:1"},
		"gone":        {apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "r"), "the pod system/r is gone"},
		"time-out":    {context.DeadlineExceeded, "did not answer in time"},
		"not running": {nil, "the receiver system/r does not run (it waits: CrashLoopBackOff)"},
	} {
		c := cluster(t, pod("r", name != "not running", "--buffer=embedded", "--buffer-dir=/b"))
		receivers, err := c.Receivers(t.Context(), &access.Flags{}, "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		c.Pods = fakePods{run: func(_ context.Context, command []string, stdout io.Writer) error {
			if slices.Contains(command, "--version") {
				_, err := io.WriteString(stdout, "receiver v0.1.0 (commit x)\n")
				return err
			}
			return test.err
		}}
		if name == "time-out" {
			cancel()
			ctx, cancel = context.WithDeadline(t.Context(), time.Unix(0, 0))
		}
		var out bytes.Buffer
		err = c.Run(ctx, receivers[0], []string{"backlog"}, nil, &out)
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
