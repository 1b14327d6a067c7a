// Package erasure keeps orders to erase the events of a recipient or of a message from the buffer. The leader alone knows what is
// being delivered, so any process leaves an order in the state of the buffer, and the leader carries it out. An order has a keyed
// hash instead of the address: the state of the buffer never has it, nor does any log.
package erasure

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
)

// Request says what is to be erased: the events of a recipient, or of a message.
type Request struct {
	Recipient string `json:"recipient,omitempty"` // address
	Message   string `json:"message,omitempty"`   // Mandrill's _id
	Webhook   string `json:"webhook,omitempty"`   // only of this webhook
	DryRun    bool   `json:"dryRun,omitempty"`    // count, and erase nothing
}

// Check returns an error unless the request says what is to be erased. The error does not quote it.
func (r *Request) Check() error {
	switch {
	case r.Recipient == "" && r.Message == "":
		return errors.New("give a recipient or a message")
	case r.Recipient != "" && r.Message != "":
		return errors.New("give a recipient or a message, not both")
	case r.Recipient != "" && !validAddress(normalize(r.Recipient)):
		return errors.New("the recipient must be an address such as ana@example.com, without a name")
	}
	return nil
}

func validAddress(address string) bool {
	at := strings.LastIndexByte(address, '@')
	return at > 0 && at < len(address)-1 && !strings.ContainsAny(address, "<> \t\r\n")
}

// normalize returns an address as it is compared: the case of its domain does not matter.
func normalize(address string) string {
	address = strings.TrimSpace(address)
	at := strings.LastIndexByte(address, '@')
	return address[:at+1] + strings.ToLower(address[at+1:])
}

// Result says what an order did.
type Result struct {
	DeadLetters int `json:"deadLetters"` // of a whole batch that was set aside, only such events
	Events      int `json:"events"`      // that waited
	Batches     int `json:"batches"`     // that had them
	// Unreadable are stored messages that could not be read. They may have events that were to be erased.
	Unreadable int `json:"unreadable,omitempty"`
	// Kept are events that are still there because the buffer had no space to rewrite their batches.
	Kept   int  `json:"kept,omitempty"`
	Failed bool `json:"failed,omitempty"` // it was given up after several attempts
}

// add adds what another leader did.
func (r *Result) add(other *Result) {
	r.DeadLetters += other.DeadLetters
	r.Events += other.Events
	r.Batches += other.Batches
	r.Unreadable += other.Unreadable
	r.Kept += other.Kept
	r.Failed = r.Failed || other.Failed
}

// Order is a request as the buffer has it.
type Order struct {
	ID        string    `json:"-"`
	Recipient string    `json:"recipient,omitempty"` // keyed hash
	Message   string    `json:"message,omitempty"`   // keyed hash
	Webhook   string    `json:"webhook,omitempty"`
	DryRun    bool      `json:"dryRun,omitempty"`
	At        time.Time `json:"at"`
	Attempts  int       `json:"attempts,omitempty"`
	Result    *Result   `json:"result,omitempty"` // nil: to be carried out

	key   []byte
	parts map[int]*part // of the result, by the leader
	there bool          // it is stored, and not only parts of its result
}

// part is what one of several leaders has done for an order.
type part struct {
	Attempts int       `json:"attempts,omitempty"`
	Result   *Result   `json:"result,omitempty"` // nil: to be carried out
	At       time.Time `json:"at,omitzero"`
}

func newOrder(key []byte, request Request, at time.Time) *Order {
	order := &Order{Webhook: request.Webhook, DryRun: request.DryRun, At: at.UTC(), key: key}
	if request.Recipient != "" {
		order.Recipient = hashed(key, "recipient", normalize(request.Recipient))
	} else {
		order.Message = hashed(key, "message", request.Message)
	}
	return order
}

func hashed(key []byte, kind, text string) string {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(kind))
	hash.Write([]byte{0})
	hash.Write([]byte(text))
	return hex.EncodeToString(hash.Sum(nil))
}

// Concerns reports whether a webhook's events may be among those to erase.
func (o *Order) Concerns(webhook string) bool { return o.Webhook == "" || o.Webhook == webhook }

// Matches reports whether an event with these recipients and this message is to be erased.
func (o *Order) Matches(recipients []string, message string) bool {
	if o.Message != "" {
		return message != "" && hashed(o.key, "message", message) == o.Message
	}
	return slices.ContainsFunc(recipients, func(recipient string) bool { return hashed(o.key, "recipient", normalize(recipient)) == o.Recipient })
}
