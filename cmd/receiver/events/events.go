// Package events is the subcommand receiver events: it prints the last events of a running receiver, and those that come.
package events

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const usage = `receiver events prints what became of the last events, and with --follow of those that come: one JSON object in a line for each attempt.

  receiver events [--follow] [--webhook NAME] [--type TYPE] [--failed] [--payload] [--limit N]

TYPE is a type of CloudEvent, also without com.mandrill.message, such as hard_bounce. --payload adds the CloudEvent as "event"; without
--follow only of events for which somebody asked, because a receiver keeps no others in memory. Lines have addresses of recipients.

The command talks to the receiver in this container or on this machine: give its --buffer-dir or its --admin-socket.
`

// command is the subcommand with its flags.
type command struct {
	socket, dir    string
	follow         bool
	query          url.Values
	stdout, stderr io.Writer
}

// shortOutput is the short form of --output, as in kubectl.
const shortOutput = "o"

// socketName is the name of the default socket in --buffer-dir.
const socketName = "admin.sock"

// maxLine bounds a line of the receiver's answer: a CloudEvent with the largest body.
const maxLine = 256 << 20

// Run runs the subcommand.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	c := &command{query: url.Values{}, stdout: stdout, stderr: stderr}
	if err := c.parse(args); err != nil {
		return err
	}
	if c.follow {
		return c.stream(ctx)
	}
	return c.list(ctx)
}

func (c *command) parse(args []string) error {
	flags := flag.NewFlagSet("receiver events", flag.ContinueOnError)
	flags.SetOutput(c.stderr)
	flags.StringVar(&c.socket, "admin-socket", "", "the --admin-socket of the running receiver")
	flags.StringVar(&c.dir, "buffer-dir", "", "instead: the --buffer-dir of the running receiver, with its default socket")
	flags.BoolVar(&c.follow, "follow", false, "print events as they come, until the receiver ends")
	webhook := flags.String("webhook", "", "only events of this webhook, such as shop/a")
	kind := flags.String("type", "", "only events of this type, such as hard_bounce or com.mandrill.inbound")
	failed := flags.Bool("failed", false, "only attempts that the sink did not accept")
	payload := flags.Bool("payload", false, "with the CloudEvent")
	limit := flags.Int("limit", -1, "print up to so many events of the past; default: 100, or none with --follow")
	output := flags.String("output", "json", "json, the only form")
	flags.StringVar(output, shortOutput, "json", "short for --output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name, value := range map[string]string{"webhook": *webhook, "type": *kind} {
		if value != "" {
			c.query.Set(name, value)
		}
	}
	for name, set := range map[string]bool{"failed": *failed, "payload": *payload} {
		if set {
			c.query.Set(name, "true")
		}
	}
	if *limit >= 0 {
		c.query.Set("limit", strconv.Itoa(*limit))
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *output != "json":
		return errors.New("--output must be json")
	case (c.socket == "") == (c.dir == ""):
		return errors.New("give the --buffer-dir or the --admin-socket of the running receiver")
	case c.socket == "":
		c.socket = filepath.Join(c.dir, socketName)
	}
	return nil
}

// list prints events of the past.
func (c *command) list(ctx context.Context) error {
	response, err := c.get(ctx, "/events")
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	var page struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		return fmt.Errorf("reading the receiver's answer: %w", err)
	}
	for _, event := range page.Events {
		if _, err := fmt.Fprintf(c.stdout, "%s\n", event); err != nil {
			return fmt.Errorf("printing an event: %w", err)
		}
	}
	return nil
}

// stream prints events as they come.
func (c *command) stream(ctx context.Context) error {
	response, err := c.get(ctx, "/events/stream")
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	for name := ""; lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			name = value
		case field == "data" && name == "skipped":
			name = ""
			_, err = fmt.Fprintf(c.stderr, "receiver: %s events came faster than they could be printed, and were skipped\n", value)
		case field == "data":
			_, err = fmt.Fprintln(c.stdout, value)
		}
		if err != nil {
			return fmt.Errorf("printing an event: %w", err)
		}
	}
	switch {
	case ctx.Err() != nil: // Ctrl-C
		return nil
	case lines.Err() != nil:
		return fmt.Errorf("reading the receiver's answer: %w", lines.Err())
	}
	return errors.New("the receiver ended")
}

// get requests a path of the admin socket.
func (c *command) get(ctx context.Context, path string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}}}
	// The host is never resolved: the transport connects to the socket.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://receiver"+path+"?"+c.query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	response, err := client.Do(request)
	if opErr := new(net.OpError); errors.As(err, &opErr) && opErr.Op == "dial" {
		return nil, fmt.Errorf("no receiver answers at %s: is it running, with this socket? (%w)", c.socket, opErr.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("calling the receiver: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	var answer struct{ Error string }
	if json.NewDecoder(response.Body).Decode(&answer) != nil || answer.Error == "" {
		return nil, fmt.Errorf("the receiver answered with status %d: it may be older than this command", response.StatusCode)
	}
	return nil, errors.New(answer.Error)
}
