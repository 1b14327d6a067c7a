package erasure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// prefix begins the keys of orders in the state bucket.
	prefix = "erase."
	// maxOrders bounds the orders that nobody carries out.
	maxOrders = 100
	// keptResult is how long a result is kept that nobody has asked for.
	keptResult = time.Hour
	// MaxAttempts is how often an order is tried: one that makes the process crash must not do so forever.
	MaxAttempts = 3
)

var (
	// ErrTooMany means that many orders wait and no leader carries them out.
	ErrTooMany = errors.New("too many orders to erase wait to be carried out")
	// ErrUnknown means that there is no such order.
	ErrUnknown = errors.New("there is no such order to erase")
)

var validID = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)

// Orders are the orders in a buffer. All fields are required.
type Orders struct {
	Store *store.Store
	State *store.State
	Key   []byte // of hashes
	Now   func() time.Time
}

// Add leaves an order and returns its id.
func (o *Orders) Add(ctx context.Context, request Request) (id string, err error) {
	if err := request.Check(); err != nil {
		return "", err
	}
	all, err := o.all(ctx)
	if err != nil {
		return "", err
	}
	if len(all) >= maxOrders {
		return "", ErrTooMany
	}
	order := newOrder(o.Key, request, o.Now())
	order.ID = nuid.Next()
	return order.ID, o.put(ctx, order)
}

func (o *Orders) put(ctx context.Context, order *Order) error {
	data, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("encoding an order to erase: %w", err)
	}
	return o.Store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		if _, err := o.State.KeyValue.Put(ctx, prefix+order.ID, data); err != nil {
			return fmt.Errorf("storing an order to erase: %w", err)
		}
		return nil
	})
}

// all returns all orders, oldest first.
func (o *Orders) all(ctx context.Context) (orders []*Order, err error) {
	subjects := o.State.Subject(prefix)
	err = o.Store.Scan(ctx, o.State.Stream, subjects+">", func(msg *jetstream.RawStreamMsg) error {
		order := &Order{ID: strings.TrimPrefix(msg.Subject, subjects), key: o.Key}
		if json.Unmarshal(msg.Data, order) == nil { // else it is a marker, or of a newer receiver
			orders = append(orders, order)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the orders to erase: %w", err)
	}
	return orders, nil
}

// Pending returns the orders that are to be carried out, oldest first. It forgets results that nobody has asked for.
func (o *Orders) Pending(ctx context.Context) (pending []*Order, err error) {
	all, err := o.all(ctx)
	for _, order := range all {
		switch since := o.Now().Sub(order.At); {
		case order.Result == nil:
			pending = append(pending, order)
		case since > keptResult || since < -keptResult:
			err = errors.Join(err, o.State.Remove(ctx, prefix+order.ID))
		}
	}
	return pending, err
}

// Attempt counts an attempt to carry out an order. It reports false, and finishes the order, when there were too many.
func (o *Orders) Attempt(ctx context.Context, order *Order) (bool, error) {
	if order.Attempts >= MaxAttempts {
		return false, o.Finish(ctx, order, Result{Failed: true})
	}
	order.Attempts++
	return true, o.put(ctx, order)
}

// Finish leaves the result of an order.
func (o *Orders) Finish(ctx context.Context, order *Order, result Result) error {
	order.Result, order.At = &result, o.Now().UTC()
	return o.put(ctx, order)
}

// Result returns the result of an order and forgets the order; nil while it is not carried out.
func (o *Orders) Result(ctx context.Context, id string) (*Result, error) {
	if !validID.MatchString(id) {
		return nil, ErrUnknown
	}
	entry, err := o.State.KeyValue.Get(ctx, prefix+id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("reading an order to erase: %w", err)
	}
	order := new(Order)
	if err := json.Unmarshal(entry.Value(), order); err != nil {
		return nil, errors.New("the order to erase cannot be decoded")
	}
	if order.Result == nil {
		return nil, nil
	}
	// The order may be gone although no answer says so, and then nobody could ask for the result again. One that stays is forgotten
	// by Pending.
	_ = o.State.Remove(ctx, prefix+id)
	return order.Result, nil
}
