package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// key is something that the user can do.
type key struct {
	letter, does string
	do           func(*stack, context.Context, *consumer) error
}

func keys() []key {
	return []key{
		{"b", "break the sink, or mend it", (*stack).breakSink},
		{"k", "kill the receiver, and start it again", (*stack).killReceiver},
		{"r", "reset the key at Mandrill", (*stack).resetKey},
		{"t", "send a thousand events", (*stack).sendThousand},
		{"f", "forge a batch", (*stack).forge},
	}
}

// show makes an event every few seconds, and does what the user's keys say, until q or the end of the context.
func (s *stack) show(ctx context.Context, c *consumer, input io.Reader) error {
	if err := s.introduce(); err != nil {
		return err
	}
	lines := linesOf(input)
	kinds := []string{"send", "delivered", "open", "click"}
	counted := time.NewTicker(5 * eventInterval)
	defer counted.Stop()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return s.leave(c)
		case <-counted.C:
			s.told.say("%s", c.ledger)
		case line, open := <-lines:
			if !open {
				lines = nil // standard input is closed: the show goes on without keys
			} else if line == "q" {
				return s.leave(c)
			} else if err := s.press(ctx, c, line); err != nil {
				return err
			}
		case <-time.After(eventInterval):
			sent, err := s.emit(ctx, fmt.Sprintf(`{"kinds":[%q]}`, kinds[i%len(kinds)]))
			if err != nil && ctx.Err() == nil {
				return err
			}
			c.ledger.expect(sent)
			i++
		}
	}
}

// introduce says where everything is.
func (s *stack) introduce() error {
	kubeconfig, err := filepath.Abs(s.kubeconfig)
	if err != nil {
		return err
	}
	text := []string{
		"", "The page:            " + s.pageURL, "Receiver's metrics:  " + s.metricsURL, "Operator's metrics:  " + s.operatorMetricsURL,
		"Admin socket:        bin/receiver events --follow --buffer-dir " + filepath.Join(s.folder, "buffer"),
		"Cluster:             export KUBECONFIG=" + kubeconfig + "; kubectl describe mwh -n shop transactional",
		"Emulated Mandrill:   curl -d '{\"kinds\": [\"click\"], \"count\": 3}' " + s.mandrillURL + "/emulator/events", "",
	}
	for _, key := range keys() {
		text = append(text, "  "+key.letter+"  "+key.does)
	}
	s.told.say("%s", strings.Join(append(text, "  q  quit", "", "Type a letter and Enter. Meanwhile there is an event every few seconds:"), "\n"))
	return nil
}

// leave tells the outcome.
func (s *stack) leave(c *consumer) error {
	s.told.say("%s", c.ledger)
	return nil
}

// press does what a key says.
func (s *stack) press(ctx context.Context, c *consumer, line string) error {
	for _, key := range keys() {
		if key.letter == line {
			return key.do(s, ctx, c)
		}
	}
	if line != "" {
		s.told.say("There is no key %.10q: type b, k, r, t, f or q, and Enter.", line)
	}
	return nil
}

func (s *stack) breakSink(_ context.Context, c *consumer) error {
	c.ledger.harm()
	if broken := !c.broken.Load(); broken {
		c.broken.Store(true)
		s.told.say("The sink answers 503 from now on. Mandrill does not notice: batches wait in the buffer. b mends it.")
		return nil
	}
	c.broken.Store(false)
	s.told.say("The sink works again. What waits comes with the next attempts, within half a minute.")
	return nil
}

func (s *stack) killReceiver(ctx context.Context, c *consumer) error {
	c.ledger.harm()
	s.told.say("The receiver is killed, as by a crash, and starts again. Mandrill repeats what was not answered.")
	if err := s.receiver.kill(); err != nil {
		return err
	}
	if err := s.receiver.start(); err != nil {
		return err
	}
	if err := waitFor(ctx, s.receiverURL); err != nil {
		return err
	}
	s.told.say("The receiver is back.")
	return nil
}

// webhook is one at the emulated Mandrill.
type webhook struct {
	ID  int64
	URL string
}

func (s *stack) webhook(ctx context.Context) (webhook, error) {
	var list []webhook
	if err := s.control(ctx, "webhooks", `{}`, &list); err != nil {
		return webhook{}, err
	}
	if len(list) == 0 {
		return webhook{}, fmt.Errorf("the emulated Mandrill has no webhook")
	}
	return list[0], nil
}

func (s *stack) resetKey(ctx context.Context, c *consumer) error {
	hook, err := s.webhook(ctx)
	if err != nil {
		return err
	}
	c.ledger.harm()
	if err := s.control(ctx, "reset-key", fmt.Sprintf(`{"id":%d}`, hook.ID), &struct{}{}); err != nil {
		return err
	}
	s.told.say("Mandrill signs with another key. The operator finds it within seconds; refused batches come again.")
	return nil
}

func (s *stack) sendThousand(ctx context.Context, c *consumer) error {
	sent, err := s.emit(ctx, `{"kinds":["send","delivered","open","click"],"count":250}`)
	if err != nil {
		return err
	}
	c.ledger.expect(sent)
	s.told.say("Mandrill sends %d events.", len(sent))
	return nil
}

// forge posts a batch with a signature of another key.
func (s *stack) forge(ctx context.Context, c *consumer) error {
	hook, err := s.webhook(ctx)
	if err != nil {
		return err
	}
	request, err := mandrilltest.NewRequest(ctx, hook.URL, hook.URL, "a-guessed-key", mandrilltest.Batch(mandrilltest.Samples()["unsub"]))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.told.say("The receiver does not answer: %v", err)
		return nil
	}
	_ = response.Body.Close()
	c.ledger.forge(response.StatusCode == http.StatusOK)
	s.told.say("A forged batch was answered with %d.", response.StatusCode)
	return nil
}

// linesOf reads lines, without spaces at their ends. The channel is closed at the end.
func linesOf(input io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(input); scanner.Scan(); {
			lines <- strings.ToLower(strings.TrimSpace(scanner.Text()))
		}
	}()
	return lines
}
