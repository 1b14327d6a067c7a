// Package uninstall deletes MandrillWebhooks and waits until the operator, which must still run, has finalized them.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/deletion"
)

const (
	// every is the pause between looks at what is left.
	every = time.Second
	// progressEvery is how often the progress is printed although nothing has changed.
	progressEvery = 10 * time.Second
	// idleHint is how long nothing may happen before a running operator is doubted.
	idleHint = 30 * time.Second
)

// Options says what to delete. Client, Finalizer and Output are required.
type Options struct {
	Client       client.Client
	Finalizer    string    // the operator's
	Output       io.Writer // for progress
	Namespaces   []string  // default: all
	Timeout      time.Duration
	KeepWebhooks bool // leave the webhooks at Mandrill
	Abandon      bool // remove finalizers after the time-out
	Now          func() time.Time
	After        func(time.Duration) <-chan time.Time
}

// uninstall is one run.
type uninstall struct {
	Options
	began   time.Time
	changed time.Time // when something last happened
	printed time.Time
	total   int
	left    int
	hinted  bool
}

// Run deletes the objects, and returns once they are gone. After the time-out its error says what is left and what to do.
func Run(ctx context.Context, options Options) error {
	u := &uninstall{Options: options}
	if u.Now == nil {
		u.Now = time.Now
	}
	if u.After == nil {
		u.After = time.After
	}
	u.began = u.Now()
	u.changed = u.began
	for {
		left, err := u.list(ctx)
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			u.say("There are no MandrillWebhooks: the cluster does not know the kind")
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing MandrillWebhooks: %w", err)
		}
		if err := u.delete(ctx, left); err != nil {
			return err
		}
		if len(left) == 0 {
			u.say("All MandrillWebhooks are gone")
			return nil
		}
		if u.Now().Sub(u.began) >= u.Timeout {
			return u.timedOut(ctx, left)
		}
		u.report(left)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.After(every):
		}
	}
}

func (u *uninstall) say(format string, values ...any) {
	_, _ = fmt.Fprintf(u.Output, format+"\n", values...) // nobody reads it any more
}

func (u *uninstall) list(ctx context.Context) ([]v1alpha1.MandrillWebhook, error) {
	var list v1alpha1.MandrillWebhookList
	if err := u.Client.List(ctx, &list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(webhook v1alpha1.MandrillWebhook) bool {
		return len(u.Namespaces) > 0 && !slices.Contains(u.Namespaces, webhook.Namespace)
	}), nil
}

// delete deletes the objects that are not being deleted yet.
func (u *uninstall) delete(ctx context.Context, list []v1alpha1.MandrillWebhook) error {
	for i := range list {
		webhook := &list[i]
		if !webhook.DeletionTimestamp.IsZero() {
			continue
		}
		if u.KeepWebhooks && webhook.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
			before := webhook.DeepCopy()
			webhook.Spec.DeletionPolicy = v1alpha1.DeletionRetain
			if err := u.Client.Patch(ctx, webhook, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("setting deletionPolicy of %s: %w", nameOf(webhook), err)
			}
		}
		if err := u.Client.Delete(ctx, webhook, client.Preconditions{UID: &webhook.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting %s: %w", nameOf(webhook), err)
		}
		u.total++
	}
	return nil
}

// report prints the progress when something has changed, and now and then.
func (u *uninstall) report(left []v1alpha1.MandrillWebhook) {
	now := u.Now()
	if u.total = max(u.total, len(left)); len(left) != u.left {
		u.left, u.changed, u.printed = len(left), now, time.Time{}
	}
	if now.Sub(u.printed) >= progressEvery {
		u.printed = now
		u.say("%d of %d MandrillWebhooks are left, after %s of %s", len(left), u.total, now.Sub(u.began).Round(time.Second), u.Timeout)
	}
	seen := slices.ContainsFunc(left, func(webhook v1alpha1.MandrillWebhook) bool { return !deletion.FailingSince(&webhook).IsZero() })
	if !u.hinted && !seen && now.Sub(u.changed) >= idleHint {
		u.hinted = true
		u.say("Nothing has happened for %s: does the operator run? It must, to delete the webhooks at Mandrill", idleHint)
	}
}

// timedOut removes the finalizers, if that is wished, or says what is left and what to do.
func (u *uninstall) timedOut(ctx context.Context, left []v1alpha1.MandrillWebhook) error {
	if !u.Abandon {
		lines := []string{fmt.Sprintf("%d MandrillWebhooks are still there after %s:", len(left), u.Timeout)}
		for i := range left {
			lines = append(lines, "  "+nameOf(&left[i])+": "+u.obstacle(&left[i]))
		}
		lines = append(lines, "Mend what these lines name, or start the operator, and run this again. To give up the webhooks at Mandrill, run it with --abandon")
		return errors.New(strings.Join(lines, "\n"))
	}
	u.say("The operator did not finalize %d MandrillWebhooks. Delete these webhooks, and inbound routes to their URLs, in Mandrill:", len(left))
	for i := range left {
		webhook := &left[i]
		u.say("  %s: %s", nameOf(webhook), remains(webhook))
		if err := u.release(ctx, webhook); err != nil {
			return fmt.Errorf("removing the finalizer of %s: %w", nameOf(webhook), err)
		}
	}
	return nil
}

// isOurs reports whether a finalizer is an operator's. Another installation has its name behind it.
func (u *uninstall) isOurs(finalizer string) bool {
	return finalizer == u.Finalizer || strings.HasPrefix(finalizer, u.Finalizer+"-")
}

// release removes the finalizers of operators.
func (u *uninstall) release(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	for {
		at := slices.IndexFunc(webhook.Finalizers, u.isOurs)
		if at < 0 {
			return nil
		}
		if err := deletion.RemoveFinalizer(ctx, u.Client, webhook, webhook.Finalizers[at]); err != nil && !apierrors.IsConflict(err) {
			return err
		}
		if err := u.Client.Get(ctx, client.ObjectKeyFromObject(webhook), webhook); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
}

// obstacle says why an object is still there.
func (u *uninstall) obstacle(webhook *v1alpha1.MandrillWebhook) string {
	if !slices.ContainsFunc(webhook.Finalizers, u.isOurs) {
		return "it waits for the finalizers " + strings.Join(webhook.Finalizers, ", ") + ", which are not the operator's"
	}
	ready := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Reason == v1alpha1.ReasonDeleting {
		return ready.Message
	}
	return "the operator has not deleted its webhook, and does not say why: look whether it runs, and at its log"
}

// remains says what of an object may be left at Mandrill.
func remains(webhook *v1alpha1.MandrillWebhook) string {
	switch status := webhook.Status; {
	case status.WebhookID != 0:
		return fmt.Sprintf("webhook %d at %s", status.WebhookID, status.URL)
	case len(status.PendingRegistrations) > 0:
		return "perhaps a webhook at " + status.PendingRegistrations[0].URL
	}
	return "none was registered"
}

func nameOf(webhook *v1alpha1.MandrillWebhook) string { return webhook.Namespace + "/" + webhook.Name }
