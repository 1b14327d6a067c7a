package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// kubelets reaches pods through the API server.
type kubelets struct{ config *rest.Config }

func newKubelets(config *rest.Config) *kubelets {
	config = rest.CopyConfig(config)
	config.Timeout = 0 // the caller's context bounds commands, and following a stream has no end
	return &kubelets{config}
}

// maxStderr bounds what is kept of an error.
const maxStderr = 64 << 10

func (k *kubelets) Run(ctx context.Context, receiver Receiver, command []string, stdin io.Reader, stdout io.Writer) error {
	clientset, err := kubernetes.NewForConfig(k.config)
	if err != nil {
		return err
	}
	request := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(receiver.Namespace).Name(receiver.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: receiver.Container, Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := k.executor(request)
	if err != nil {
		return err
	}
	stderr := &limited{max: maxStderr}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	if exit := exec.ExitError(nil); errors.As(err, &exit) && exit.Exited() {
		return &ExitError{exit.ExitStatus(), stderr.String()}
	}
	return err
}

func (k *kubelets) executor(request *rest.Request) (remotecommand.Executor, error) {
	socket, err := remotecommand.NewWebSocketExecutor(k.config, http.MethodGet, request.URL().String())
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdyTransport(k.config)
	if err != nil {
		return nil, err
	}
	fallback, err := remotecommand.NewSPDYExecutorForTransports(transport, upgrader, http.MethodPost, request.URL())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(socket, fallback, passesNoWebSockets)
}

func (k *kubelets) Logs(ctx context.Context, namespace, pod, container string, lines int64) ([]byte, error) {
	clientset, err := kubernetes.NewForConfig(k.config)
	if err != nil {
		return nil, err
	}
	return clientset.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: &lines}).DoRaw(ctx)
}

func (k *kubelets) Metrics(ctx context.Context, namespace, pod string, port int) ([]byte, error) {
	clientset, err := kubernetes.NewForConfig(k.config)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s:%s", pod, strconv.Itoa(port))
	return clientset.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").Name(name).SubResource("proxy").Suffix("metrics").DoRaw(ctx)
}

// limited keeps the beginning of what is written.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(data []byte) (int, error) {
	if space := l.max - l.Len(); space > 0 {
		_, _ = l.Buffer.Write(data[:min(space, len(data))]) // never fails
	}
	return len(data), nil
}
