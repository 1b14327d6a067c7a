// Package bundle collects what is needed to find a fault, without secrets and without addresses of people.
package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/view"
	"github.com/mandrill-operator/mandrill-operator/version"
)

const long = `support-bundle writes an archive with MandrillWebhooks, their Events, the pods of operator and receivers, the ends of their logs,
and their metrics.

It reads no Secrets. Mail addresses and public IP addresses are replaced by names such as mail-1. User, password and query of URLs are
hidden, and so are the values of environment variables of pods. Look through the archive all the same before you hand it on.

It needs the rights to list MandrillWebhooks, events and pods, and to get pods/log and pods/proxy. What you may not read is left out
and named in missing.txt.`

// Bounds of the archive.
const (
	logLines  = 2000
	maxEvents = 1000
	patience  = 20 * time.Second // for each log, and each program's metrics
)

type bundle struct {
	env     *access.Env
	cluster *access.Cluster
	redact  *redactor
	now     time.Time
	archive *tar.Writer
	missing []string
}

// New returns the command support-bundle.
func New(env *access.Env) *cobra.Command {
	var path string
	command := &cobra.Command{
		Use: "support-bundle", Short: "Write an archive for support, without secrets and addresses", Long: long, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			path := cmp.Or(path, "mandrill-support-"+env.Now().UTC().Format("20060102-150405")+".tar.gz")
			return write(command.Context(), env, path)
		},
	}
	command.Flags().StringVarP(&path, "filename", "f", "", "file to write; - for standard output; default: mandrill-support-TIME.tar.gz")
	command.Flags().BoolVarP(&env.Flags.AllNamespaces, "all-namespaces", "A", false, "the webhooks of all namespaces")
	return command
}

func write(ctx context.Context, env *access.Env, path string) (err error) {
	cluster, err := env.Connect(&env.Flags)
	if err != nil {
		return err
	}
	target := env.Out
	if path != "-" {
		file, openErr := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600) //nolint:gosec // the person's file
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		target = file
	}
	compressed := gzip.NewWriter(target)
	b := &bundle{env: env, cluster: cluster, redact: newRedactor(), now: env.Now(), archive: tar.NewWriter(compressed)}
	if err := errors.Join(b.collect(ctx), b.archive.Close(), compressed.Close()); err != nil {
		return err
	}
	if path != "-" {
		_, err = fmt.Fprintf(env.Out, "wrote %s; look through it before you hand it on\n", path)
	}
	for _, text := range b.missing {
		_, _ = fmt.Fprintf(env.Err, "kubectl mandrill: left out: %s\n", text)
	}
	if err == nil && len(b.missing) > 0 {
		return &output.StatusError{Status: output.StatusIncomplete}
	}
	return err
}

func (b *bundle) collect(ctx context.Context) error {
	namespace := b.cluster.Namespace
	if b.env.Flags.AllNamespaces {
		namespace = ""
	}
	webhooks, err := b.cluster.Webhooks(ctx, namespace)
	if err != nil {
		b.lacks("MandrillWebhooks", err)
	}
	for i := range webhooks {
		b.redact.learn(&webhooks[i])
	}
	errs := []error{
		b.add("version.txt", "kubectl-mandrill "+version.Get().String()+"\n"),
		b.addYAML("webhooks.yaml", stripped(webhooks)), b.addYAML("status.yaml", summaries(webhooks)),
		b.events(ctx, namespace), b.pods(ctx),
	}
	return errors.Join(append(errs, b.add("missing.txt", strings.Join(b.missing, "\n")+"\n"))...)
}

func (b *bundle) lacks(what string, err error) {
	b.missing = append(b.missing, b.redact.text(what+": "+err.Error()))
}

// add adds a file, without secrets and addresses.
func (b *bundle) add(name, text string) error {
	data := []byte(b.redact.text(text))
	header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: b.now}
	if err := b.archive.WriteHeader(header); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err := b.archive.Write(data)
	return err
}

func (b *bundle) addYAML(name string, value any) error {
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return b.add(name, string(data))
}

// stripped leaves out what tools have added, such as the whole object as it was applied.
func stripped(webhooks []v1alpha1.MandrillWebhook) []v1alpha1.MandrillWebhook {
	for i := range webhooks {
		webhooks[i].Annotations, webhooks[i].ManagedFields = nil, nil
	}
	return webhooks
}

func summaries(webhooks []v1alpha1.MandrillWebhook) (list []view.Summary) {
	for i := range webhooks {
		list = append(list, view.Summarize(&webhooks[i]))
	}
	return list
}

func (b *bundle) events(ctx context.Context, namespace string) error {
	var list corev1.EventList
	ours := client.MatchingFields{"involvedObject.kind": "MandrillWebhook"}
	if err := b.cluster.Client.List(ctx, &list, client.InNamespace(namespace), ours, client.Limit(maxEvents)); err != nil {
		b.lacks("Events", access.Explain(err, "Events", "list events"))
		return nil
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var text strings.Builder
	for _, event := range list.Items {
		at := cmp.Or(event.LastTimestamp.Time, event.EventTime.Time)
		fmt.Fprintf(&text, "%s %s %s/%s %s: %s\n", at.UTC().Format(time.RFC3339), event.Type, event.Namespace, event.InvolvedObject.Name, event.Reason, event.Message)
	}
	return b.add("events.txt", text.String())
}

// metricsPort is that of --metrics-listen, in both programs.
const metricsPort = 9090

func (b *bundle) pods(ctx context.Context) error {
	pods, err := b.cluster.InstallationPods(ctx, &b.env.Flags)
	if err != nil {
		b.lacks("pods", err)
		return nil
	}
	var errs []error
	for i := range pods {
		pod := &pods[i]
		errs = append(errs, b.addYAML("pods/"+pod.Namespace+"_"+pod.Name+".yaml", withoutEnvironment(pod)))
		for _, container := range pod.Spec.Containers {
			name := pod.Namespace + "_" + pod.Name + "_" + container.Name
			bounded, cancel := context.WithTimeout(ctx, patience)
			data, err := b.cluster.Pods.Logs(bounded, pod.Namespace, pod.Name, container.Name, logLines)
			if err != nil {
				b.lacks("log of "+name, access.Explain(err, "the log", "get pods/log in namespace "+pod.Namespace))
			}
			errs = append(errs, b.add("logs/"+name+".log", string(bytes.ToValidUTF8(data, nil))))
			if data, err = b.cluster.Pods.Metrics(bounded, pod.Namespace, pod.Name, metricsPort); err != nil {
				b.lacks("metrics of "+name, access.Explain(err, "the metrics", "get pods/proxy in namespace "+pod.Namespace))
			}
			cancel()
			errs = append(errs, b.add("metrics/"+name+".txt", string(data)))
		}
	}
	return errors.Join(errs...)
}

// withoutEnvironment leaves out values of variables, and what tools have added.
func withoutEnvironment(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Annotations, pod.ManagedFields = nil, nil
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for j := range containers[i].Env {
				if containers[i].Env[j].Value != "" {
					containers[i].Env[j].Value = "hidden"
				}
			}
		}
	}
	return pod
}
