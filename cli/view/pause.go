package view

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// NewPause returns the command pause.
func NewPause(env *access.Env) *cobra.Command {
	return newSuspend(env, "pause", "Make the receiver refuse a webhook's batches, so that Mandrill keeps them", true,
		"paused %s/%s: batches are refused with 503, Mandrill keeps them for some hours, and what waits in the buffer stays there\n")
}

// NewResume returns the command resume.
func NewResume(env *access.Env) *cobra.Command {
	return newSuspend(env, "resume", "Accept a webhook's batches again", false,
		"resumed %s/%s: Mandrill sends again within 15 to 25 minutes after its last attempt\n")
}

func newSuspend(env *access.Env, name, short string, suspend bool, done string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " NAME",
		Short: short,
		Long: fmt.Sprintf("%s sets spec.suspend of a MandrillWebhook to %v. It needs the right to patch MandrillWebhooks. "+
			"A tool that applies the object from Git sets the field back: change it there, then.", name, suspend),
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			cluster, err := env.Connect(&env.Flags)
			if err != nil {
				return err
			}
			webhook, err := cluster.Webhook(command.Context(), args[0])
			if err != nil {
				return err
			}
			if webhook.Spec.Suspend == suspend {
				_, err := fmt.Fprintf(env.Out, "%s/%s is unchanged: spec.suspend is %v already\n", webhook.Namespace, webhook.Name, suspend)
				return err
			}
			patch := client.MergeFrom(webhook.DeepCopy())
			webhook.Spec.Suspend = suspend
			if err := cluster.Client.Patch(command.Context(), webhook, patch); err != nil {
				return access.Explain(err, "MandrillWebhook "+webhook.Namespace+"/"+webhook.Name, "patch mandrillwebhooks.mandrill-operator.io in namespace "+webhook.Namespace)
			}
			_, err = fmt.Fprintf(env.Out, done, webhook.Namespace, webhook.Name)
			return err
		},
		ValidArgsFunction: env.CompleteWebhooks,
	}
}
