package access

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds the wait of a shell.
const completionTimeout = 2 * time.Second

// CompleteWebhooks completes the name of a webhook.
func (e *Env) CompleteWebhooks(command *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cluster, err := e.Connect(&e.Flags)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	webhooks, err := cluster.Webhooks(ctx, cluster.Namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range webhooks {
		if strings.HasPrefix(webhooks[i].Name, prefix) {
			names = append(names, webhooks[i].Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
