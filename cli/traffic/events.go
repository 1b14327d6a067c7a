// Package traffic sends test events and shows what flows: test, verify, tail and listen.
package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// Event is a recent event, as receiver events prints one a line.
type Event struct {
	Time       time.Time       `json:"time"`
	Webhook    string          `json:"webhook"`
	Batch      string          `json:"batch,omitempty"`
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Recipient  string          `json:"recipient,omitempty"`
	Message    string          `json:"message,omitempty"`
	Attempt    int             `json:"attempt"`
	Outcome    string          `json:"outcome"`
	Status     int             `json:"status,omitempty"` // of the sink's answer
	DurationMs float64         `json:"durationMs"`
	Test       bool            `json:"test,omitempty"`
	Reason     string          `json:"reason,omitempty"` // why the attempt failed
	Answer     string          `json:"answer,omitempty"` // the beginning of what the sink answered, if it did not accept the event
	Event      json.RawMessage `json:"event,omitempty"`  // the CloudEvent in structured JSON, with --payload
}

// source reads the recent events of all receivers of a webhook.
type source struct {
	cluster   *access.Cluster
	receivers []access.Receiver
	webhook   string // empty: of all
	follow    bool
	past      int // events of the past that are wanted with follow
	payload   bool
	warn      io.Writer
}

func (s *source) args() []string {
	args := []string{"events", "-o=json"}
	if s.follow {
		args = append(args, "--follow", "--limit="+strconv.Itoa(s.past))
	}
	if s.webhook != "" {
		args = append(args, "--webhook="+s.webhook)
	}
	if s.payload {
		args = append(args, "--payload")
	}
	return args
}

// maxLine bounds an event: an inbound mail with attachments.
const maxLine = 128 << 20

// errNone means that no receiver could be asked.
var errNone = errors.New("no receiver answered")

// read calls a function with each event, one at a time, until all receivers are done or ctx ends. It fails if no receiver can be asked.
func (s *source) read(ctx context.Context, call func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var readers sync.WaitGroup
	answered := false
	for _, receiver := range s.receivers {
		readers.Go(func() {
			err := s.readOne(ctx, receiver, func(event Event) {
				mu.Lock()
				defer mu.Unlock()
				if ctx.Err() == nil {
					if err := call(event); err != nil {
						cancel(err)
					}
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && ctx.Err() == nil {
				_, _ = fmt.Fprintf(s.warn, "kubectl mandrill: %v\n", err)
				return
			}
			answered = true
		})
	}
	readers.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errDone):
		return nil
	case cause != nil && !errors.Is(cause, context.Canceled):
		return cause
	case !answered && len(s.receivers) > 0:
		return errNone
	}
	return nil
}

// errDone is returned by a function that has seen enough.
var errDone = errors.New("done")

func (s *source) readOne(ctx context.Context, receiver access.Receiver, call func(Event)) error {
	place, ok := receiver.AdminArgs()
	if !ok {
		return fmt.Errorf("the receiver %s has no admin socket, through which it shows events: give it --admin-socket", receiver)
	}
	reader, writer := io.Pipe()
	scanned := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(reader)
		lines.Buffer(make([]byte, 0, 64<<10), maxLine)
		var err error
		for lines.Scan() && err == nil {
			var event Event
			if err = json.Unmarshal(lines.Bytes(), &event); err == nil {
				call(event)
			}
		}
		err = errors.Join(err, lines.Err())
		_ = reader.CloseWithError(err) // returns nil
		scanned <- err
	}()
	err := s.cluster.Run(ctx, receiver, append(s.args(), place...), nil, writer)
	_ = writer.Close() // returns nil
	if scanErr := <-scanned; err == nil && scanErr != nil {
		return fmt.Errorf("%s printed what is no event, maybe because its version is another: %w", receiver, scanErr)
	}
	return err
}

// settled are outcomes after which nothing else comes of an event.
var settled = []string{"accepted", "duplicate", "dead_letter_sink", "dead_lettered"}

func isSettled(outcome string) bool { return slices.Contains(settled, outcome) }
