package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labels and names by which receivers are found, as the chart and the injection of sidecars write them.
const (
	componentLabel    = "app.kubernetes.io/component"
	componentValue    = "receiver"
	sidecarLabel      = "mandrill-operator.io/receiver"
	sharedContainer   = "receiver"
	sidecarContainer  = "mandrill-receiver"
	defaultNamespace  = "mandrill-operator-system"
	operatorContainer = "operator" // and the value of its component label
	program           = "/receiver"
)

// Receiver is a container that runs the receiver.
type Receiver struct {
	Namespace, Pod, Container string
	Program                   string
	Args                      []string
	Sidecar                   bool
	Running                   bool
	State                     string // why it does not run
}

func (r Receiver) String() string { return r.Namespace + "/" + r.Pod }

// Receivers returns the shared receivers, and the sidecars of namespaces.
func (c *Cluster) Receivers(ctx context.Context, flags *Flags, sidecars ...string) ([]Receiver, error) {
	pods, err := c.componentPods(ctx, flags.ReceiverNamespace, componentValue)
	if err != nil {
		return nil, err
	}
	var receivers []Receiver
	for i := range pods {
		receivers = appendReceiver(receivers, &pods[i], sharedContainer, false)
	}
	for _, namespace := range sidecars {
		if namespace == "" {
			continue
		}
		var list corev1.PodList
		err := c.Client.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{sidecarLabel})
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, Explain(err, "pods", "list pods in namespace "+namespace)
		}
		for i := range list.Items {
			receivers = appendReceiver(receivers, &list.Items[i], sidecarContainer, true)
		}
	}
	if len(receivers) == 0 {
		return nil, noReceivers(flags.ReceiverNamespace, pods)
	}
	slices.SortFunc(receivers, func(a, b Receiver) int { return cmp.Compare(a.String(), b.String()) })
	return receivers, nil
}

// noReceivers says what was looked for, and what the pods are that look like receivers.
func noReceivers(namespace string, pods []corev1.Pod) error {
	text := fmt.Sprintf("no receivers were found: %s there is no pod with the label %s=%s and a container %q that has --routes-secret or --config",
		namespaceText(namespace), componentLabel, componentValue, sharedContainer)
	var found []string
	for i := range pods {
		what := "has no container of this name"
		if slices.ContainsFunc(pods[i].Spec.Containers, func(c corev1.Container) bool { return c.Name == sharedContainer }) {
			what = "has neither flag"
		}
		found = append(found, fmt.Sprintf("%s/%s %s", pods[i].Namespace, pods[i].Name, what))
	}
	if len(found) > maxNamed {
		found = append(found[:maxNamed], fmt.Sprintf("and %d more", len(found)-maxNamed))
	}
	if len(found) > 0 {
		text += "; " + strings.Join(found, ", ")
	}
	return errors.New(text + ". Name the namespace of the receivers by --receiver-namespace")
}

// maxNamed is how many pods an error names.
const maxNamed = 5

func namespaceText(namespace string) string {
	if namespace == "" {
		return "in the namespaces that you may look into"
	}
	return "in namespace " + namespace
}

// componentPods lists the pods of a component: in all namespaces, or where the person may.
func (c *Cluster) componentPods(ctx context.Context, namespace, component string) ([]corev1.Pod, error) {
	var list corev1.PodList
	label := client.MatchingLabels{componentLabel: component}
	err := c.Client.List(ctx, &list, label, client.InNamespace(namespace))
	if apierrors.IsForbidden(err) && namespace == "" {
		namespace = defaultNamespace
		err = c.Client.List(ctx, &list, label, client.InNamespace(namespace))
	}
	if err != nil {
		return nil, Explain(err, "pods", "list pods in namespace "+cmp.Or(namespace, defaultNamespace)+", where the receivers run; another is named by --receiver-namespace")
	}
	return list.Items, nil
}

func appendReceiver(receivers []Receiver, pod *corev1.Pod, name string, sidecar bool) []Receiver {
	for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
		if container.Name != name {
			continue
		}
		receiver := Receiver{Namespace: pod.Namespace, Pod: pod.Name, Container: name, Sidecar: sidecar, Args: container.Args, Program: program}
		if len(container.Command) > 0 {
			receiver.Program, receiver.Args = container.Command[0], append(slices.Clone(container.Command[1:]), container.Args...)
		}
		if receiver.flag("routes-secret") == "" && receiver.flag("config") == "" {
			continue // a program of somebody else that is called receiver
		}
		receiver.Running, receiver.State = running(pod, name)
		receivers = append(receivers, receiver)
	}
	return receivers
}

// running reports whether a container runs, or why it does not.
func running(pod *corev1.Pod, name string) (bool, string) {
	for _, status := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		switch {
		case status.Name != name:
		case status.State.Running != nil:
			return true, ""
		case status.State.Waiting != nil:
			return false, "it waits: " + status.State.Waiting.Reason
		case status.State.Terminated != nil:
			return false, "it has ended: " + status.State.Terminated.Reason
		}
	}
	return false, "its pod is " + strings.ToLower(cmp.Or(string(pod.Status.Phase), "pending"))
}

// flag returns the value of a flag in the arguments.
func (r Receiver) flag(name string) string {
	for i, arg := range r.Args {
		arg = strings.TrimPrefix(arg, "-")
		if value, ok := strings.CutPrefix(arg, "-"+name+"="); ok {
			return value
		}
		if arg == "-"+name && i+1 < len(r.Args) {
			return r.Args[i+1]
		}
	}
	return ""
}

// connectionFlags are those by which a subcommand connects to a buffer in NATS, as the receiver itself does.
var connectionFlags = []string{
	"buffer", "buffer-name", "buffer-credentials-file", "buffer-tls-ca-file", "buffer-tls-cert-file", "buffer-tls-key-file",
}

// BufferArgs returns the flags by which the receiver's subcommands find its buffer, or false if it has none.
func (r Receiver) BufferArgs() ([]string, bool) {
	buffer := r.flag("buffer")
	switch {
	case buffer == "":
		return nil, false
	case r.flag("admin-socket") != "":
		return []string{"--admin-socket=" + r.flag("admin-socket")}, true
	case r.flag("buffer-dir") != "":
		return []string{"--buffer-dir=" + r.flag("buffer-dir")}, true
	}
	var args []string
	for _, name := range connectionFlags {
		if value := r.flag(name); value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	return args, true
}

// buffer names the buffer of a receiver: receivers with the same name share one.
func (r Receiver) buffer() string {
	switch buffer := r.flag("buffer"); buffer {
	case "embedded":
		return r.String()
	case "cluster":
		return strings.Join([]string{r.Namespace, r.flag("buffer-peers")}, " ")
	default:
		return buffer + " " + r.flag("buffer-name")
	}
}

// Buffer is a buffer, with the receivers that have it.
type Buffer struct {
	Name      string // of a receiver
	Receivers []Receiver
}

// Buffers returns the buffers of receivers.
func Buffers(receivers []Receiver) []Buffer {
	var buffers []Buffer
	known := map[string]int{}
	for _, receiver := range receivers {
		if _, has := receiver.BufferArgs(); !has {
			continue
		}
		name := receiver.buffer()
		at, ok := known[name]
		if !ok {
			at = len(buffers)
			known[name] = at
			buffers = append(buffers, Buffer{Name: receiver.String()})
		}
		buffers[at].Receivers = append(buffers[at].Receivers, receiver)
	}
	return buffers
}

// errNotRunning means that no receiver of a buffer runs.
func (b Buffer) errNotRunning() error {
	var states []string
	for _, receiver := range b.Receivers {
		states = append(states, fmt.Sprintf("%s: %s", receiver, receiver.State))
	}
	return fmt.Errorf("no receiver of the buffer runs (%s): look at its pod with kubectl describe", strings.Join(states, "; "))
}

// AdminArgs returns the flags by which subcommands find the running receiver itself, which need not have a buffer.
func (r Receiver) AdminArgs() ([]string, bool) {
	for _, name := range []string{"admin-socket", "buffer-dir"} {
		if value := r.flag(name); value != "" {
			return []string{"--" + name + "=" + value}, true
		}
	}
	return nil, false
}

// InstallationPods returns the pods of operators and receivers.
func (c *Cluster) InstallationPods(ctx context.Context, flags *Flags) ([]corev1.Pod, error) {
	pods, err := c.componentPods(ctx, flags.ReceiverNamespace, componentValue)
	if err != nil {
		return nil, err
	}
	operators, err := c.componentPods(ctx, flags.ReceiverNamespace, operatorContainer)
	return slices.DeleteFunc(append(pods, operators...), func(pod corev1.Pod) bool { return len(appendOurs(nil, &pod)) == 0 }), err
}

// appendOurs appends the containers of the installation: other programs may have the same labels.
func appendOurs(names []string, pod *corev1.Pod) []string {
	for _, container := range pod.Spec.Containers {
		if container.Name == sharedContainer || container.Name == operatorContainer {
			names = append(names, container.Name)
		}
	}
	return names
}
