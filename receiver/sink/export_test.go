package sink

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// Send posts an event in binary content mode.
func (c *Client) Send(ctx context.Context, target Target, event *cloudevents.Event) error {
	payload, err := binary(event)
	if err != nil {
		return err
	}
	return c.Post(ctx, target, payload)
}

// RetryAfter parses a Retry-After header.
var RetryAfter = retryAfter

// MaxAnswer is the longest answer in a dead letter.
const MaxAnswer = maxAnswer

// Encode encodes an event for a request.
func Encode(mode ContentMode, event *cloudevents.Event) (Payload, error) { return mode.encode(event) }
