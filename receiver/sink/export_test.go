package sink

import (
	"context"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

// Send posts an event in binary content mode.
func (c *Client) Send(ctx context.Context, target Target, event *cloudevent.Event) error {
	_, err := c.Post(ctx, target, Binary.encode(event, nil))
	return err
}

// Standard makes the client use net/http for all sinks.
func (c *Client) Standard() *Client {
	c.standard = true
	return c
}

// RetryAfter parses a Retry-After header.
var RetryAfter = retryAfter

// MaxAnswer is the longest answer in a dead letter.
const MaxAnswer = maxAnswer

// Encode encodes an event for a request.
func Encode(mode ContentMode, event *cloudevent.Event, buffer []byte) Payload {
	return mode.encode(event, buffer)
}
