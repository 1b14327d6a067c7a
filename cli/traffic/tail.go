package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

const tailLong = `tail shows events while receivers deliver them: the type, the recipient, the message, the sink's answer and the attempt. Receivers
keep the last events in memory, so tail begins with these.

Of an address only the first letter and the domain are shown, unless --show-addresses is given. It needs the rights to list
pods and to create pods/exec where receivers run.`

// tail are the flags of tail.
type tail struct {
	env                  *access.Env
	kind, recipient      string
	failed, show, follow bool
	format               output.Format
	columnsPrinted       int
}

// NewTail returns the command tail.
func NewTail(env *access.Env) *cobra.Command {
	t := &tail{env: env}
	command := &cobra.Command{
		Use: "tail [NAME]", Short: "Show the events that flow", Long: tailLong, Args: cobra.MaximumNArgs(1),
		RunE:              func(command *cobra.Command, args []string) error { return t.run(command.Context(), args) },
		ValidArgsFunction: env.CompleteWebhooks,
	}
	flags := command.Flags()
	t.format.AddFlag(flags)
	flags.StringVar(&t.kind, "type", "", "only of this type, such as hard_bounce")
	flags.StringVar(&t.recipient, "recipient", "", "only to this address")
	flags.BoolVar(&t.failed, "failed", false, "only attempts that failed")
	flags.BoolVar(&t.show, "show-addresses", false, "show addresses as they are")
	flags.BoolVarP(&t.follow, "follow", "f", true, "go on until it is interrupted; false: show the last events and exit")
	return command
}

// tailPast is how many events of the past of each receiver are shown before those that come.
const tailPast = 20

// sourceOf returns the events of a webhook, or of all.
func sourceOf(ctx context.Context, env *access.Env, name string) (*source, error) {
	cluster, err := env.Connect(&env.Flags)
	if err != nil {
		return nil, err
	}
	s := &source{cluster: cluster, warn: env.Err}
	if name != "" {
		webhook, err := cluster.Webhook(ctx, name)
		if err != nil {
			return nil, err
		}
		s.webhook = webhook.Namespace + "/" + webhook.Name
	}
	s.receivers, err = cluster.Receivers(ctx, &env.Flags, cluster.Namespace)
	return s, err
}

func (t *tail) run(ctx context.Context, args []string) error {
	source, err := sourceOf(ctx, t.env, strings.Join(args, ""))
	if err != nil {
		return err
	}
	source.follow, source.past = t.follow, tailPast
	return source.read(ctx, t.print)
}

func (t *tail) wants(event Event) bool {
	isKind := t.kind == "" || event.Type == t.kind || strings.HasSuffix(event.Type, "."+t.kind)
	isRecipient := t.recipient == "" || strings.EqualFold(event.Recipient, t.recipient)
	return isKind && isRecipient && (!t.failed || !isSettled(event.Outcome) || event.Outcome == "dead_lettered")
}

// print prints an event in a line. Columns have fixed widths, because the next event is not known yet.
func (t *tail) print(event Event) error {
	if !t.wants(event) {
		return nil
	}
	event.Event = nil
	if !t.show {
		event.Recipient = output.ShortAddress(event.Recipient)
	}
	if t.format != output.Table {
		return t.printDocument(event)
	}
	if t.columnsPrinted == 0 {
		t.columnsPrinted = 1
		if _, err := fmt.Fprintf(t.env.Out, "%-8s  %-28s  %-34s  %-26s  %-12s  %s\n", "TIME", "TYPE", "MESSAGE", "RECIPIENT", "RESULT", "ATTEMPT"); err != nil {
			return err
		}
	}
	result := event.Outcome
	if event.Status != 0 {
		result += " " + strconv.Itoa(event.Status)
	}
	if event.Test {
		result += " (test)"
	}
	if event.Reason != "" {
		result += " " + event.Reason
	}
	kind := strings.TrimPrefix(event.Type, "com.mandrill.")
	_, err := fmt.Fprintf(t.env.Out, "%-8s  %-28s  %-34s  %-26s  %-12s  %d\n",
		event.Time.Local().Format(time.TimeOnly), kind, event.Message, event.Recipient, result, event.Attempt)
	return err
}

// printDocument prints an event as a line of JSON, or as a document of YAML: both can be read while more come.
func (t *tail) printDocument(event Event) error {
	data, err := json.Marshal(event)
	if err == nil && t.format == output.YAML {
		if data, err = yaml.JSONToYAML(data); err == nil {
			data = append([]byte("---\n"), bytes.TrimSuffix(data, []byte("\n"))...)
		}
	}
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	_, err = fmt.Fprintf(t.env.Out, "%s\n", data)
	return err
}

const listenLong = `listen sends a copy of each event of a webhook to a URL of this machine, as a CloudEvent in structured JSON, while the sink gets every
event as before. An event that the URL does not accept is reported, and not sent again.

It needs the rights to list pods and to create pods/exec where receivers run.`

// forwardTimeout bounds the wait for the URL of --forward-to.
const forwardTimeout = 30 * time.Second

// NewListen returns the command listen.
func NewListen(env *access.Env) *cobra.Command {
	var target string
	command := &cobra.Command{
		Use: "listen NAME --forward-to URL", Short: "Send a copy of each event to this machine", Long: listenLong, Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if target == "" {
				return errors.New("give --forward-to URL, such as --forward-to http://localhost:3000/events")
			}
			return listen(command.Context(), env, args[0], target)
		},
		ValidArgsFunction: env.CompleteWebhooks,
	}
	command.Flags().StringVar(&target, "forward-to", "", "URL to send the copies to, such as http://localhost:3000/events")
	return command
}

func listen(ctx context.Context, env *access.Env, name, target string) error {
	source, err := sourceOf(ctx, env, name)
	if err != nil {
		return err
	}
	source.follow, source.payload = true, true
	seen := map[string]bool{} // attempts of one event are one event here
	return source.read(ctx, func(event Event) error {
		if seen[event.ID] || len(event.Event) == 0 {
			return nil
		}
		if len(seen) >= maxSeen {
			clear(seen)
		}
		seen[event.ID] = true
		status, err := forward(ctx, env.Client, target, event.Event)
		text := fmt.Sprintf("%s %s: %d", strings.TrimPrefix(event.Type, "com.mandrill."), event.ID, status)
		if err != nil {
			text = fmt.Sprintf("%s %s: %v", strings.TrimPrefix(event.Type, "com.mandrill."), event.ID, err)
		}
		_, err = fmt.Fprintln(env.Out, text)
		return err
	})
}

// maxSeen bounds the ids that are remembered.
const maxSeen = 100_000

func forward(ctx context.Context, client *http.Client, target string, event []byte) (int, error) {
	bounded, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(bounded, http.MethodPost, target, bytes.NewReader(event))
	if err != nil {
		return 0, errors.New("--forward-to is no URL")
	}
	request.Header.Set("Content-Type", "application/cloudevents+json")
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	return response.StatusCode, nil
}
