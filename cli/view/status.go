package view

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
)

const statusLong = `status shows each webhook in a line. Below, each problem has a paragraph with what to do and the next command. The columns are

  READY       whether the webhook is registered and the receiver accepts its batches
  MANDRILL    whether Mandrill can deliver, as it says itself
  URL         whether nothing else has the webhook's URL
  SINK        whether the sink accepts the events
  WAITING     events that wait in the buffers for 30 seconds or more
  OLDEST      for how long the first of them has waited
  DEAD        events that were given up and are kept as dead letters
  LAST EVENT  how long ago the last batch of Mandrill arrived

ok means that nothing is wrong, - that nothing is known, and another word is the reason: kubectl mandrill explain REASON.

It reads MandrillWebhooks. The operator does not write them for each event: times in them are up to 5 minutes old, or
more with over 600 webhooks, and so are counts. So status also asks the receivers for the time of the last event,
by their metrics, if you may list pods and get pods/proxy where they run. If that fails, a line below the table says why.

It exits with 2 if a webhook has a problem.`

// NewStatus returns the command status.
func NewStatus(env *access.Env) *cobra.Command {
	var format output.Format
	ask := true
	command := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show each webhook in a line, and each problem with what to do about it",
		Long:  statusLong,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return status(command, env, args, format, ask)
		},
		ValidArgsFunction: env.CompleteWebhooks,
	}
	format.AddFlag(command.Flags())
	command.Flags().BoolVarP(&env.Flags.AllNamespaces, "all-namespaces", "A", false, "the webhooks of all namespaces")
	command.Flags().BoolVar(&ask, "live", true, "ask the receivers when events came last; false: read the objects only")
	return command
}

func status(command *cobra.Command, env *access.Env, args []string, format output.Format, ask bool) error {
	cluster, err := env.Connect(&env.Flags)
	if err != nil {
		return err
	}
	var webhooks []v1alpha1.MandrillWebhook
	switch {
	case len(args) == 1:
		webhook, err := cluster.Webhook(command.Context(), args[0])
		if err != nil {
			return err
		}
		webhooks = append(webhooks, *webhook)
	default:
		namespace := cluster.Namespace
		if env.Flags.AllNamespaces {
			namespace = ""
		}
		if webhooks, err = cluster.Webhooks(command.Context(), namespace); err != nil {
			return err
		}
	}
	summaries, problems := []Summary{}, 0
	for i := range webhooks {
		summary := Summarize(&webhooks[i])
		summaries = append(summaries, summary)
		problems += len(summary.Problems)
	}
	var stale error
	if ask && len(webhooks) > 0 {
		stale = live(command.Context(), env, cluster, webhooks, summaries)
	}
	err = format.Print(env.Out, summaries, func(w io.Writer) error { return printStatus(w, env, cluster, summaries, stale) })
	if err == nil && problems > 0 {
		err = output.Problems
	}
	return err
}

func printStatus(w io.Writer, env *access.Env, cluster *access.Cluster, summaries []Summary, stale error) error {
	if len(summaries) == 0 {
		place := "in any namespace"
		if !env.Flags.AllNamespaces {
			place = "in namespace " + cluster.Namespace + "; -A shows those of all namespaces"
		}
		_, err := fmt.Fprintf(w, "There are no MandrillWebhooks %s.\n", place)
		return err
	}
	now := env.Now()
	rows := [][]string{{"NAMESPACE", "NAME", "READY", "MANDRILL", "URL", "SINK", "WAITING", "OLDEST", "DEAD", "LAST EVENT"}}
	for _, s := range summaries {
		rows = append(rows, []string{
			s.Namespace, s.Name, s.Ready, s.Mandrill, s.URL, s.Sink, strconv.FormatInt(s.Waiting, 10), since(now, s.OldestAt),
			strconv.FormatInt(s.DeadLetters, 10), since(now, s.LastEventAt),
		})
	}
	if err := output.Columns(w, rows); err != nil {
		return err
	}
	if stale != nil {
		if _, err := fmt.Fprintf(w, "\nLAST EVENT may be 5 minutes old or more, because the receivers did not say it: %v\n", stale); err != nil {
			return err
		}
	}
	for _, s := range summaries {
		for _, problem := range s.Problems {
			if _, err := io.WriteString(w, paragraph(w, s, problem)); err != nil {
				return err
			}
		}
	}
	return nil
}

// paragraph says what is wrong, what to do, and which command to run.
func paragraph(w io.Writer, s Summary, problem Problem) string {
	title := problem.Reason
	if problem.Condition != "" && problem.Condition != problem.Reason {
		title = problem.Condition + ", " + problem.Reason
	}
	lines := []string{"", output.Paint(w, output.Red, fmt.Sprintf("%s/%s: %s", s.Namespace, s.Name, title))}
	message := problem.Message
	if problem.Condition == v1alpha1.ConditionDelivered {
		message = access.NameSink(message, s.SinkAddress)
	}
	for _, text := range []string{message, reasons.Unsaid(problem.Remedy, message)} {
		if text != "" {
			lines = append(lines, "  "+sentence(text))
		}
	}
	if problem.Next != "" {
		lines = append(lines, "  Next: "+problem.Next)
	}
	return strings.Join(lines, "\n") + "\n"
}

// sentence begins with a capital and ends with a full stop.
func sentence(text string) string {
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
