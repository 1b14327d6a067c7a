// Package accounts compares an account at Mandrill with objects of the cluster: import and diff.
package accounts

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const importLong = `import prints the webhooks and inbound routes of an account as MandrillWebhooks, to be completed and applied: an object takes over the
webhook that has its URL. Webhooks that an object of the cluster has already are named in comments.

It reads the Secret of the API key, and lists the MandrillWebhooks of all namespaces, or of its own if you may not. It changes nothing.`

// NewImport returns the command import.
func NewImport(env *access.Env) *cobra.Command {
	var secret, sink string
	command := &cobra.Command{
		Use: "import --account-secret NAME", Short: "Print the webhooks of an account as manifests", Long: importLong, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if secret == "" {
				return fmt.Errorf("give --account-secret NAME[:KEY], the Secret of the namespace that has the API key")
			}
			return importAccount(command.Context(), env, secret, sink)
		},
	}
	command.Flags().StringVar(&secret, "account-secret", "", "Secret with the API key: NAME, or NAME:KEY if the key is not api-key")
	command.Flags().StringVar(&sink, "sink", "http://CHANGE-ME.example/", "URI of the sink to write into the manifests")
	return command
}

func importAccount(ctx context.Context, env *access.Env, secret, sink string) error {
	cluster, err := env.Connect(&env.Flags)
	if err != nil {
		return err
	}
	name, key, _ := strings.Cut(secret, ":")
	ref := v1alpha1.SecretKeyRef{Name: name, Key: key}
	client, err := clientOf(ctx, env, cluster, cluster.Namespace, ref)
	if err != nil {
		return err
	}
	webhooks, err := client.Webhooks(ctx)
	if err != nil {
		return fmt.Errorf("listing the webhooks: %w", err)
	}
	routes, err := inboundRoutes(ctx, client)
	if err != nil {
		return err
	}
	managed, err := cluster.Webhooks(ctx, "")
	if err != nil {
		if managed, err = cluster.Webhooks(ctx, cluster.Namespace); err != nil {
			return err
		}
	}
	i := importer{env.Out, cluster.Namespace, ref, sink, routes, managed, map[string]bool{}}
	for _, webhook := range webhooks {
		if err := i.print(webhook); err != nil {
			return err
		}
	}
	return printLost(env.Out, routes, webhooks)
}

// importer prints the manifests of an account.
type importer struct {
	w         io.Writer
	namespace string
	ref       v1alpha1.SecretKeyRef
	sink      string
	routes    []route
	managed   []v1alpha1.MandrillWebhook
	names     map[string]bool // that are taken
}

func clientOf(ctx context.Context, env *access.Env, cluster *access.Cluster, namespace string, ref v1alpha1.SecretKeyRef) (*mandrill.Client, error) {
	key, err := cluster.SecretValue(ctx, namespace, ref.Name, access.APIKey(ref))
	if err != nil {
		return nil, err
	}
	return mandrill.NewClient(mandrill.ClientOptions{Key: strings.TrimSpace(key), BaseURL: env.Flags.MandrillAPI, UserAgent: "kubectl-mandrill"})
}

// route is an inbound route with its domain.
type route struct {
	domain string
	mandrill.InboundRoute
}

func inboundRoutes(ctx context.Context, client *mandrill.Client) ([]route, error) {
	domains, err := client.InboundDomains(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the inbound domains: %w", err)
	}
	var list []route
	for _, domain := range domains {
		routes, err := client.InboundRoutes(ctx, domain.Domain)
		if err != nil {
			return nil, fmt.Errorf("listing the inbound routes of %s: %w", domain.Domain, err)
		}
		for _, r := range routes {
			list = append(list, route{domain.Domain, r})
		}
	}
	return list, nil
}

// owner returns the object that has a webhook already.
func owner(managed []v1alpha1.MandrillWebhook, webhook mandrill.Webhook) *v1alpha1.MandrillWebhook {
	for i := range managed {
		status := managed[i].Status
		if status.WebhookID == webhook.ID && webhookurl.ShownAs(webhook.URL, status.URL) {
			return &managed[i]
		}
	}
	return nil
}

// print prints a webhook as a manifest, or a comment if an object has it already.
func (i *importer) print(webhook mandrill.Webhook) error {
	if object := owner(i.managed, webhook); object != nil {
		_, err := fmt.Fprintf(i.w, "# webhook %d, %s: MandrillWebhook %s/%s has it already\n", webhook.ID, webhookurl.Redact(webhook.URL), object.Namespace, object.Name)
		return err
	}
	object := manifest{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "MandrillWebhook", Metadata: metadata{Name: nameFor(webhook, i.names), Namespace: i.namespace},
		Spec: v1alpha1.MandrillWebhookSpec{
			URL: webhook.URL, Description: webhook.Description, APIKeySecretRef: i.ref, Sink: v1alpha1.Destination{URI: i.sink}, DeletionPolicy: "Retain",
		},
	}
	comment := fmt.Sprintf("# webhook %d, created %s; deletionPolicy Retain leaves it at Mandrill if the object is deleted\n",
		webhook.ID, webhook.CreatedAt.Format(time.DateOnly))
	for _, event := range webhook.Events {
		object.Spec.Events = append(object.Spec.Events, v1alpha1.EventName(mandrill.CurrentName(event)))
	}
	if len(webhook.Events) == 0 {
		object.Spec.Events = []v1alpha1.EventName{"send"}
		comment += "# Mandrill has disabled it, and its events are not known any more: write those that you want\n"
	}
	for _, r := range i.routes {
		if r.URL == webhook.URL {
			if object.Spec.Inbound == nil {
				object.Spec.Inbound = &v1alpha1.Inbound{}
			}
			object.Spec.Inbound.Routes = append(object.Spec.Inbound.Routes, v1alpha1.InboundRoute{Domain: r.domain, Pattern: r.Pattern})
		}
	}
	data, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("encoding a manifest: %w", err)
	}
	_, err = fmt.Fprintf(i.w, "---\n%s%s", comment, data)
	return err
}

// manifest is a MandrillWebhook without status.
type manifest struct {
	APIVersion string                       `json:"apiVersion"`
	Kind       string                       `json:"kind"`
	Metadata   metadata                     `json:"metadata"`
	Spec       v1alpha1.MandrillWebhookSpec `json:"spec"`
}

type metadata struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

var unusable = regexp.MustCompile(`[^a-z0-9]+`)

// nameFor makes a name of the description or the URL's path, different from those before.
func nameFor(webhook mandrill.Webhook, taken map[string]bool) string {
	text := webhook.Description
	if parsed, err := url.Parse(webhook.URL); text == "" && err == nil {
		text = parsed.Path
	}
	name := strings.Trim(unusable.ReplaceAllString(strings.ToLower(text), "-"), "-")
	name = strings.Trim(name[:min(len(name), 50)], "-")
	name = cmp.Or(name, "webhook")
	if taken[name] {
		name = fmt.Sprintf("%s-%d", name, webhook.ID)
	}
	taken[name] = true
	return name
}

// printLost names routes that post to a URL without a webhook.
func printLost(w io.Writer, routes []route, webhooks []mandrill.Webhook) error {
	for _, r := range routes {
		if slices.ContainsFunc(webhooks, func(webhook mandrill.Webhook) bool { return webhook.URL == r.URL }) {
			continue
		}
		if _, err := fmt.Fprintf(w, "# inbound route %s@%s posts to %s, where the account has no webhook\n", r.Pattern, r.domain, webhookurl.Redact(r.URL)); err != nil {
			return err
		}
	}
	return nil
}
