package erasure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
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

// Orders are the orders in a buffer. The fields up to Now are required.
type Orders struct {
	Store *store.Store
	State *store.State
	Key   []byte // of hashes
	Now   func() time.Time

	// A buffer in partitions has a leader for each, and each carries out its part of an order.
	Parts  int // 0: it has none
	Part   int // of this leader
	PartOf func(webhook string) int
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
	return order.ID, o.put(ctx, order.ID, order)
}

func (o *Orders) put(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding an order to erase: %w", err)
	}
	return o.Store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		if _, err := o.State.KeyValue.Put(ctx, prefix+key, data); err != nil {
			return fmt.Errorf("storing an order to erase: %w", err)
		}
		return nil
	})
}

// all returns all orders, oldest first.
func (o *Orders) all(ctx context.Context) (orders []*Order, err error) {
	orders, _, err = o.read(ctx)
	return orders, err
}

// read returns all orders, and those that were removed while parts of their results were not.
func (o *Orders) read(ctx context.Context) (orders, removed []*Order, err error) {
	byID := map[string]*Order{}
	subjects := o.State.Subject(prefix)
	err = o.Store.Scan(ctx, o.State.Stream, subjects+">", func(msg *jetstream.RawStreamMsg) error {
		id, number, isPart := strings.Cut(strings.TrimPrefix(msg.Subject, subjects), ".")
		order := byID[id]
		if order == nil {
			order = &Order{ID: id, parts: map[int]*part{}}
			byID[id] = order
		}
		if isPart {
			done := new(part)
			if at, err := strconv.Atoi(number); err == nil && json.Unmarshal(msg.Data, done) == nil {
				order.parts[at] = done
			}
			return nil
		}
		order.there = true
		if json.Unmarshal(msg.Data, order) == nil { // else it is a marker, or of a newer receiver
			order.key = o.Key
			orders = append(orders, order)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the orders to erase: %w", err)
	}
	maps.DeleteFunc(byID, func(_ string, order *Order) bool { return order.there })
	return orders, slices.Collect(maps.Values(byID)), nil
}

// Pending returns the orders that this leader is to carry out, oldest first. It forgets results that nobody has asked for.
func (o *Orders) Pending(ctx context.Context) (pending []*Order, err error) {
	all, removed, err := o.read(ctx)
	if o.Part == 0 {
		for _, order := range removed {
			err = errors.Join(err, o.forget(ctx, order))
		}
	}
	for _, order := range all {
		result, at := o.result(order)
		switch since := o.Now().Sub(at); {
		case result == nil && o.isMine(order):
			pending = append(pending, order)
		case result != nil && (since > keptResult || since < -keptResult):
			err = errors.Join(err, o.forget(ctx, order))
		}
	}
	return pending, err
}

// isMine reports whether this leader has something to do for an order, and how often it has tried.
func (o *Orders) isMine(order *Order) bool {
	if o.Parts == 0 {
		return true
	}
	done := order.parts[o.Part]
	if done != nil {
		order.Attempts = done.Attempts
	}
	return o.concerns(order, o.Part) && (done == nil || done.Result == nil)
}

func (o *Orders) concerns(order *Order, number int) bool {
	return order.Webhook == "" || o.PartOf(order.Webhook) == number
}

// result returns what an order did and when it was finished; nil while something is to do.
func (o *Orders) result(order *Order) (sum *Result, at time.Time) {
	if order.Result != nil || o.Parts == 0 {
		return order.Result, order.At
	}
	sum = &Result{}
	for number := range o.Parts {
		if !o.concerns(order, number) {
			continue
		}
		done := order.parts[number]
		if done == nil || done.Result == nil {
			return nil, order.At
		}
		sum.add(done.Result)
		if done.At.After(at) {
			at = done.At
		}
	}
	return sum, at
}

// Attempt counts an attempt to carry out an order. It reports false, and finishes the order, when there were too many.
func (o *Orders) Attempt(ctx context.Context, order *Order) (bool, error) {
	if order.Attempts >= MaxAttempts {
		return false, o.Finish(ctx, order, Result{Failed: true})
	}
	order.Attempts++
	if o.Parts > 0 {
		return true, o.put(ctx, o.partKey(order), &part{Attempts: order.Attempts})
	}
	return true, o.put(ctx, order.ID, order)
}

// Finish leaves the result of an order.
func (o *Orders) Finish(ctx context.Context, order *Order, result Result) error {
	at := o.Now().UTC()
	if o.Parts > 0 {
		return o.put(ctx, o.partKey(order), &part{Attempts: order.Attempts, Result: &result, At: at})
	}
	order.Result, order.At = &result, at
	return o.put(ctx, order.ID, order)
}

func (o *Orders) partKey(order *Order) string { return order.ID + "." + strconv.Itoa(o.Part) }

// Result returns the result of an order and forgets the order; nil while it is not carried out.
func (o *Orders) Result(ctx context.Context, id string) (*Result, error) {
	if !validID.MatchString(id) {
		return nil, ErrUnknown
	}
	all, err := o.all(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(order *Order) bool { return order.ID == id })
	if at < 0 {
		return nil, ErrUnknown
	}
	result, _ := o.result(all[at])
	if result == nil {
		return nil, nil
	}
	return result, o.forget(ctx, all[at])
}

// forget removes an order, and then the parts of its result: without them it would be carried out again.
func (o *Orders) forget(ctx context.Context, order *Order) error {
	if err := o.State.Remove(ctx, prefix+order.ID); err != nil {
		return err
	}
	if len(order.parts) == 0 {
		return nil
	}
	return o.State.Remove(ctx, prefix+order.ID+".*")
}
