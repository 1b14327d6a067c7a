package traffic

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/post"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/nearest"
)

const testLong = `test sends events to a webhook's public URL, signed with its key as Mandrill signs, and shows what each hop answers: the ingress, the
receiver, and the sink. The sink gets the events. They are marked: the data has "mandrilltest": true, and the CloudEvents have the
extension mandrilltest.

KIND is a kind of event, such as send or hard_bounce; default: send. It reads the Secret of the signing key, and asks the receivers what
became of the events if you may create pods/exec; otherwise it ends with the receiver's answer. It exits with 2 if an event was not
delivered.`

// sending are the flags of test.
type sending struct {
	env      *access.Env
	to, tag  string
	metadata map[string]string
	count    int
	wait     time.Duration
	format   output.Format
}

// NewTest returns the command test.
func NewTest(env *access.Env) *cobra.Command {
	s := &sending{env: env}
	command := &cobra.Command{
		Use: "test NAME [KIND...]", Short: "Send test events through the public URL to the sink", Long: testLong, Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error { return s.run(command.Context(), args[0], args[1:]) },
		ValidArgsFunction: func(command *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return env.CompleteWebhooks(command, args, prefix)
			}
			return mandrilltest.Kinds(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	flags := command.Flags()
	s.format.AddFlag(flags)
	flags.StringVar(&s.to, "to", "test@example.com", "address of the recipient")
	flags.StringVar(&s.tag, "tag", "", "tag of the message")
	flags.StringToStringVar(&s.metadata, "metadata", nil, "metadata of the message, such as order_id=1042")
	flags.IntVar(&s.count, "count", 1, "events of each kind, up to 1000 together")
	flags.DurationVar(&s.wait, "timeout", 30*time.Second, "how long to wait for the sink")
	return command
}

// Result is what became of a test event.
type Result struct {
	Kind     string  `json:"kind"`
	Message  string  `json:"message"`
	Receiver string  `json:"receiver"` // what the receiver, or something before it, answered
	Outcome  string  `json:"outcome,omitempty"`
	Status   int     `json:"status,omitempty"` // of the sink's answer
	Answer   string  `json:"answer,omitempty"` // the beginning of the sink's answer, if it did not accept the event
	Attempt  int     `json:"attempt,omitempty"`
	Millis   float64 `json:"durationMs,omitempty"`
}

func (s *sending) run(ctx context.Context, name string, kinds []string) error {
	if len(kinds) == 0 {
		kinds = []string{"send"}
	}
	if s.count < 1 || s.count*len(kinds) > mandrill.MaxBatchEvents {
		return fmt.Errorf("--count must be from 1, and all events together up to %d", mandrill.MaxBatchEvents)
	}
	cluster, err := s.env.Connect(&s.env.Flags)
	if err != nil {
		return err
	}
	webhook, err := cluster.Webhook(ctx, name)
	if err != nil {
		return err
	}
	secret := access.SigningKeySecret(webhook)
	key, err := cluster.SecretValue(ctx, webhook.Namespace, secret, "signing-key")
	if err != nil {
		return err
	}
	registered, err := cluster.SecretValue(ctx, webhook.Namespace, secret, "url")
	if err != nil {
		return err
	}
	results, batch, err := s.events(kinds)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	answer, err := post.Batch(bounded, s.env.Client, registered, key, batch)
	if err != nil {
		return fmt.Errorf("no answer at the public URL: %w; kubectl mandrill doctor %s -n %s says more", err, name, webhook.Namespace)
	}
	for i := range results {
		results[i].Receiver = strings.TrimSpace(strconv.Itoa(answer.Status) + " " + strings.SplitN(answer.Body, "\n", 2)[0])
	}
	if answer.Status == http.StatusOK {
		s.follow(bounded, name, results)
	}
	return s.report(results, answer.Status, webhook.Namespace+"/"+name)
}

// events makes the events of a batch.
func (s *sending) events(kinds []string) (results []Result, batch []byte, err error) {
	var events [][]byte
	for _, kind := range kinds {
		for range s.count {
			message := make([]byte, 16)
			_, _ = rand.Read(message) // never fails
			id := hex.EncodeToString(message)
			event, err := s.event(kind, id)
			if err != nil {
				return nil, nil, err
			}
			events = append(events, event)
			results = append(results, Result{Kind: kind, Message: id})
		}
	}
	return results, mandrilltest.Batch(events...), nil
}

// event is a sample of a kind with the values of the flags and the mark of a test.
func (s *sending) event(kind, id string) ([]byte, error) {
	generated, err := mandrilltest.Event(kind, id, s.env.Now())
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, nearest.DidYouMean(kind, mandrilltest.Kinds()))
	}
	decoder := json.NewDecoder(bytes.NewReader(generated))
	decoder.UseNumber()
	event := map[string]any{}
	if err := decoder.Decode(&event); err != nil {
		return nil, fmt.Errorf("making an event: %w", err)
	}
	event[mandrill.TestField] = true
	if msg, ok := event["msg"].(map[string]any); ok {
		msg["email"] = s.to
		if s.tag != "" {
			msg["tags"] = []string{s.tag}
		}
		if len(s.metadata) > 0 {
			msg["metadata"] = maps.Clone(s.metadata)
		}
	}
	return json.Marshal(event)
}

// follow asks the receivers what became of the events, until all are settled or ctx ends.
func (s *sending) follow(ctx context.Context, name string, results []Result) {
	var quiet bytes.Buffer
	source, err := sourceOf(ctx, s.env, name)
	if err != nil {
		return
	}
	source.follow, source.past, source.warn = true, mandrill.MaxBatchEvents, &quiet // they may be delivered before the receivers are asked
	missing := len(results)
	err = source.read(ctx, func(event Event) error {
		at := slices.IndexFunc(results, func(r Result) bool { return r.Message == event.Message })
		if at < 0 || event.Message == "" || isSettled(results[at].Outcome) {
			return nil
		}
		results[at].Outcome, results[at].Status, results[at].Attempt, results[at].Millis = event.Outcome, event.Status, event.Attempt, event.DurationMs
		if event.Answer != "" {
			results[at].Answer = event.Answer
		}
		if isSettled(event.Outcome) {
			missing--
		}
		if missing == 0 {
			return errDone
		}
		return nil
	})
	if errors.Is(err, errNone) {
		_, _ = fmt.Fprintf(s.env.Err, "kubectl mandrill: the sink's answer is not known: %s", strings.TrimPrefix(quiet.String(), "kubectl mandrill: "))
	}
}

func (s *sending) report(results []Result, status int, name string) error {
	err := s.format.Print(s.env.Out, results, func(w io.Writer) error {
		rows := [][]string{{"KIND", "MESSAGE", "RECEIVER", "SINK", "ATTEMPT"}}
		for _, r := range results {
			sink, attempt := "unknown", "-"
			if r.Outcome != "" {
				sink, attempt = r.Outcome, strconv.Itoa(r.Attempt)
			}
			if r.Status != 0 {
				sink += " " + strconv.Itoa(r.Status)
			}
			if r.Answer != "" {
				sink += fmt.Sprintf(" %q", r.Answer)
			}
			rows = append(rows, []string{r.Kind, r.Message, r.Receiver, sink, attempt})
		}
		return output.Columns(w, rows)
	})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return &output.StatusError{Status: output.StatusProblems, Err: fmt.Errorf(
			"the batch was refused with %d: kubectl mandrill doctor %s -n %s says why", status, name[strings.IndexByte(name, '/')+1:], strings.SplitN(name, "/", 2)[0])}
	}
	if slices.ContainsFunc(results, func(r Result) bool { return r.Outcome != "" && r.Outcome != "accepted" && r.Outcome != "duplicate" }) {
		return output.Problems
	}
	return nil
}
