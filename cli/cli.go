// Package cli is kubectl-mandrill: it shows and repairs the flow of events, with the rights of the person who runs it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/accounts"
	"github.com/mandrill-operator/mandrill-operator/cli/buffers"
	"github.com/mandrill-operator/mandrill-operator/cli/bundle"
	"github.com/mandrill-operator/mandrill-operator/cli/doctor"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/traffic"
	"github.com/mandrill-operator/mandrill-operator/cli/ui"
	"github.com/mandrill-operator/mandrill-operator/cli/view"
	"github.com/mandrill-operator/mandrill-operator/version"
)

const long = `kubectl mandrill follows the events of a MandrillWebhook: from the webhook at Mandrill through the ingress, the receiver and its buffer to
your sink. It says what is broken on that way, and helps to repair it.

Begin with kubectl mandrill status -A: a line for each webhook, and for each problem what to do and the command to run next.
kubectl mandrill doctor NAME then checks one webhook hop by hop.`

// New returns the program.
func New(env *access.Env) *cobra.Command {
	root := &cobra.Command{
		Use: "kubectl-mandrill", Short: "Show and repair the flow of Mandrill's events", Long: long,
		SilenceErrors: true, SilenceUsage: true,
		Annotations:                map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl mandrill"},
		SuggestionsMinimumDistance: 3,
		Version:                    version.Get().String(),
		RunE:                       func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetVersionTemplate("kubectl-mandrill {{.Version}}\n") // as the other programs print it
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	env.Flags.Add(root.PersistentFlags())
	root.AddCommand(commands(env)...)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, command.CommandPath())
	})
	return root
}

func commands(env *access.Env) []*cobra.Command {
	return []*cobra.Command{
		view.NewStatus(env), doctor.New(env), ui.New(env), view.NewExplain(env), view.NewPause(env), view.NewResume(env),
		buffers.NewDeadLetters(env), buffers.NewBacklog(env),
		traffic.NewTest(env), traffic.NewTail(env), traffic.NewListen(env), traffic.NewVerify(env),
		accounts.NewImport(env), accounts.NewDiff(env), bundle.New(env), newVersion(env),
	}
}

func newVersion(env *access.Env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, "kubectl-mandrill", version.Get())
			return err
		},
	}
}

// Main runs the program and returns the status to exit with.
func Main(ctx context.Context, env *access.Env, args []string) int {
	root := New(env) //nolint:contextcheck // commands get it from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return output.StatusOK
	}
	if text := message(err); text != "" {
		_, _ = io.WriteString(env.Err, "kubectl mandrill: "+text+"\n") // nowhere else to say it
	}
	return output.StatusOf(err)
}

// message is what the person reads of an error.
func message(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time: " + err.Error()
	case errors.Is(err, os.ErrClosed):
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(err.Error(), "\n\nDid you mean this?\n\t", ": did you mean "))
}
