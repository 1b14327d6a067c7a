package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const diffLong = `diff says what applying manifests would change at Mandrill: which webhooks would be added, taken over or changed, and how.

It reads the MandrillWebhooks that the manifests name and the Secrets of their API keys. It changes nothing. It exits with 2 if there is a
difference.`

// NewDiff returns the command diff.
func NewDiff(env *access.Env) *cobra.Command {
	var files []string
	command := &cobra.Command{
		Use: "diff -f FILE", Short: "Say what applying manifests would change at Mandrill", Long: diffLong, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("give -f FILE: a file, a folder, or - for standard input")
			}
			return diff(command.Context(), env, files)
		},
	}
	command.Flags().StringSliceVarP(&files, "filename", "f", nil, "file with manifests, folder, or - for standard input")
	return command
}

func diff(ctx context.Context, env *access.Env, files []string) error {
	cluster, err := env.Connect(&env.Flags)
	if err != nil {
		return err
	}
	var objects []v1alpha1.MandrillWebhook
	for _, file := range files {
		read, err := readManifests(env.In, file)
		if err != nil {
			return err
		}
		objects = append(objects, read...)
	}
	if len(objects) == 0 {
		return errors.New("the files have no MandrillWebhook")
	}
	different := false
	for i := range objects {
		object := &objects[i]
		if object.Namespace == "" {
			object.Namespace = cluster.Namespace
		}
		lines, err := compare(ctx, env, cluster, object)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", object.Namespace, object.Name, err)
		}
		different = different || len(lines) > 0
		if len(lines) == 0 {
			lines = []string{"no change"}
		}
		if _, err := fmt.Fprintf(env.Out, "%s/%s: %s\n", object.Namespace, object.Name, strings.Join(lines, "\n    ")); err != nil {
			return err
		}
	}
	if different {
		return output.Problems
	}
	return nil
}

// readManifests reads the MandrillWebhooks of a file, a folder, or standard input. Other objects are left out.
func readManifests(stdin io.Reader, path string) (objects []v1alpha1.MandrillWebhook, err error) {
	if path == "-" {
		return decodeManifests(stdin, "standard input")
	}
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			return nil
		}
		data, err := os.ReadFile(name) //nolint:gosec // the person's file
		if err != nil {
			return err
		}
		found, err := decodeManifests(bytes.NewReader(data), name)
		objects = append(objects, found...)
		return err
	})
	return objects, err
}

func decodeManifests(r io.Reader, name string) (objects []v1alpha1.MandrillWebhook, err error) {
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(r))
	buffer := make([]byte, 4<<20)
	for number := 1; ; number++ {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", name, number, err)
		}
		var object v1alpha1.MandrillWebhook
		if err := yaml.Unmarshal(buffer[:n], &object); err != nil && bytes.Contains(buffer[:n], []byte("kind: MandrillWebhook")) {
			return nil, fmt.Errorf("%s, document %d: %w", name, number, err)
		}
		if object.Kind == "MandrillWebhook" && strings.HasPrefix(object.APIVersion, v1alpha1.GroupVersion.Group+"/") {
			objects = append(objects, object)
		}
	}
}

// compare returns what would change at Mandrill, in sentences.
func compare(ctx context.Context, env *access.Env, cluster *access.Cluster, object *v1alpha1.MandrillWebhook) ([]string, error) {
	var existing v1alpha1.MandrillWebhook
	err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(object), &existing)
	if client.IgnoreNotFound(err) != nil {
		return nil, access.Explain(err, "the MandrillWebhook", "get mandrillwebhooks.mandrill-operator.io in namespace "+object.Namespace)
	}
	api, err := clientOf(ctx, env, cluster, object.Namespace, object.Spec.APIKeySecretRef)
	if err != nil {
		return nil, err
	}
	webhooks, err := api.Webhooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the webhooks: %w", err)
	}
	remote := find(webhooks, object, &existing)
	wanted := wantedEvents(object)
	switch {
	case remote == nil && existing.UID == "":
		return []string{"a webhook would be added, with the events " + strings.Join(wanted, ", ")}, nil
	case remote == nil:
		return []string{"the account has no webhook of the object, so that one would be added, with the events " + strings.Join(wanted, ", ")}, nil
	}
	var lines []string
	if existing.UID == "" {
		lines = append(lines, fmt.Sprintf("webhook %d at the URL would be taken over", remote.ID))
		if object.Spec.AdoptionPolicy == "Refuse" {
			return []string{fmt.Sprintf("webhook %d is at the URL, and adoptionPolicy Refuse leaves it alone: the object would be stalled", remote.ID)}, nil
		}
	}
	return append(lines, changesOf(remote, object, wanted)...), nil
}

// find returns the webhook that the object has, or would take over.
func find(webhooks []mandrill.Webhook, object, existing *v1alpha1.MandrillWebhook) *mandrill.Webhook {
	for i := range webhooks {
		if existing.Status.WebhookID != 0 && webhooks[i].ID == existing.Status.WebhookID {
			return &webhooks[i]
		}
	}
	for i := range webhooks {
		if object.Spec.URL != "" && webhooks[i].URL == object.Spec.URL {
			return &webhooks[i]
		}
	}
	return nil
}

func wantedEvents(object *v1alpha1.MandrillWebhook) (names []string) {
	for _, event := range object.Spec.Events {
		names = append(names, string(event))
	}
	slices.Sort(names)
	return names
}

func changesOf(remote *mandrill.Webhook, object *v1alpha1.MandrillWebhook, wanted []string) (lines []string) {
	if object.Spec.URL != "" && object.Spec.URLSecretRef == nil && remote.URL != object.Spec.URL {
		lines = append(lines, fmt.Sprintf("url: %s would become %s, and Mandrill may sign with a new key", webhookurl.Redact(remote.URL), webhookurl.Redact(object.Spec.URL)))
	}
	if remote.Description != object.Spec.Description {
		lines = append(lines, fmt.Sprintf("description: %q would become %q", remote.Description, object.Spec.Description))
	}
	var has []string
	for _, event := range remote.Events {
		has = append(has, mandrill.CurrentName(event))
	}
	for _, event := range wanted {
		if !slices.Contains(has, event) {
			lines = append(lines, "events: "+event+" would be added")
		}
	}
	for _, event := range has {
		if !slices.Contains(wanted, event) {
			lines = append(lines, "events: "+event+" would be removed")
		}
	}
	return lines
}
