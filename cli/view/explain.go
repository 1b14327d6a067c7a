package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
)

// NewExplain returns the command explain.
func NewExplain(env *access.Env) *cobra.Command {
	var format output.Format
	command := &cobra.Command{
		Use:   "explain [REASON]",
		Short: "Explain a condition or a reason, and what to do about it",
		Long:  "explain shows what a condition or a reason of a MandrillWebhook means and what to do about it; without a name, all of them. It needs no cluster.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := reasons.All()
			if len(args) == 1 {
				list, err = reasons.Find(args[0])
			}
			if err != nil {
				return err
			}
			return format.Print(env.Out, list, func(w io.Writer) error { return printReasons(w, list) })
		},
		ValidArgsFunction: func(_ *cobra.Command, _ []string, prefix string) (names []string, _ cobra.ShellCompDirective) {
			list, _ := reasons.All()
			for _, reason := range list {
				if strings.HasPrefix(reason.Name, prefix) {
					names = append(names, reason.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	format.AddFlag(command.Flags())
	return command
}

func printReasons(w io.Writer, list []reasons.Reason) error {
	for _, reason := range list {
		kind := "reason"
		if reason.Condition {
			kind = "condition"
		}
		if _, err := fmt.Fprintf(w, "%s (%s): %s\n", reason.Name, kind, reason.Text); err != nil {
			return err
		}
	}
	return nil
}
