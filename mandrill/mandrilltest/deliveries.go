package mandrilltest

import (
	"slices"
	"time"
)

// maxDeliveries is how many deliveries of an account are remembered.
const maxDeliveries = 1000

// maxAnswer is how much of the body of an answer is remembered.
const maxAnswer = 1 << 10

// Delivery is one attempt to post a batch.
type Delivery struct {
	Number  int64 // from 1, of the account
	Webhook int64 // 0: of an inbound route
	URL     string
	Events  [][]byte
	Attempt int    // from 1
	Status  int    // 0 when there was no answer
	Answer  string // the first kilobyte of the body
	Err     error
	At      time.Time
}

func (d Delivery) json() map[string]any {
	text := ""
	if d.Err != nil {
		text = cause(d.Err)
	}
	return map[string]any{
		"number": d.Number, "webhook": d.Webhook, "url": d.URL, "events": len(d.Events), "attempt": d.Attempt, "status": d.Status, "answer": d.Answer, "error": text,
		"at": d.At.UTC().Format(time.RFC3339),
	}
}

// record remembers a delivery, and returns it with its number.
func (a *Account) record(d Delivery) Delivery {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.delivered++
	d.Number = a.delivered
	if len(a.deliveries) == maxDeliveries {
		a.deliveries = slices.Delete(a.deliveries, 0, 1)
	}
	a.deliveries = append(a.deliveries, d)
	return d
}

// Deliveries returns the last 1,000 attempts to post batches of the account, in order.
func (a *Account) Deliveries() []Delivery {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return slices.Clone(a.deliveries)
}
