package sink

import "iter"

const (
	// maxBatchEvents and maxBatchBytes bound a request in Batched mode. One event that is larger goes alone.
	maxBatchEvents = 100
	maxBatchBytes  = 1 << 20
)

// request is some events that are sent together.
type request struct {
	items   []*Item
	payload Payload
	err     error // the events cannot be encoded
}

// trains groups the items that are not settled into requests, and these into trains, each of which goes out in order: it
// has all events of a message. Encoding happens as they are asked for, so that not all are in memory at once.
func sequences(mode ContentMode, items []*Item) iter.Seq[[]request] {
	if mode == Batched {
		return batchSequences(items)
	}
	return func(yield func([]request) bool) {
		for _, lane := range groupByOrder(items) {
			train := make([]request, len(lane))
			for i, item := range lane {
				train[i].items = []*Item{item}
				train[i].payload, train[i].err = mode.encode(item.Event)
			}
			if !yield(train) {
				return
			}
		}
	}
}

// lanes groups what must go out in order.
func groupByOrder(items []*Item) [][]*Item {
	byOrder := make(map[string]int, len(items))
	var grouped [][]*Item
	for _, item := range items {
		if item.State.settled() {
			continue
		}
		if at, known := byOrder[item.OrderKey]; known && item.OrderKey != "" {
			grouped[at] = append(grouped[at], item)
			continue
		}
		byOrder[item.OrderKey] = len(grouped)
		grouped = append(grouped, []*Item{item})
	}
	return grouped
}

// batches puts whole lanes together as long as they fit into one request. A lane that does not fit into one gets a
// train of its own.
func batchSequences(items []*Item) iter.Seq[[]request] {
	return func(yield func([]request) bool) {
		var open batchBuilder
		for _, lane := range groupByOrder(items) {
			parts := packGroup(lane)
			if len(parts) == 1 && open.fits(parts[0]) {
				open.add(parts[0])
				continue
			}
			if len(open.items) > 0 && !yield([]request{open.request()}) {
				return
			}
			open = batchBuilder{}
			if len(parts) == 1 {
				open = parts[0]
				continue
			}
			train := make([]request, len(parts))
			for i, part := range parts {
				train[i] = part.request()
			}
			if !yield(train) {
				return
			}
		}
		if len(open.items) > 0 {
			yield([]request{open.request()})
		}
	}
}

// batch is a request in the making.
type batchBuilder struct {
	items  []*Item
	events []Payload
	size   int // of the body, but for its first bracket
	err    error
}

// packed spreads a lane over as few requests as it needs.
func packGroup(lane []*Item) []batchBuilder {
	var parts []batchBuilder
	for _, item := range lane {
		next := batchBuilder{items: []*Item{item}}
		event, err := Batched.encode(item.Event)
		next.events, next.size, next.err = []Payload{event}, len(event.Body)+1, err
		if last := len(parts) - 1; last >= 0 && parts[last].fits(next) {
			parts[last].add(next)
		} else {
			parts = append(parts, next)
		}
	}
	return parts
}

// takes tells whether both fit into one request. What is for the dead letter sink, or cannot be encoded, is alone.
func (b *batchBuilder) fits(other batchBuilder) bool {
	return b.joinable() && other.joinable() && len(b.items)+len(other.items) <= maxBatchEvents && b.size+other.size < maxBatchBytes
}

func (b *batchBuilder) joinable() bool {
	return b.err == nil && (len(b.items) == 0 || b.items[0].State == Pending)
}
func (b *batchBuilder) add(other batchBuilder) {
	b.items = append(b.items, other.items...)
	b.events = append(b.events, other.events...)
	b.size += other.size
}

func (b *batchBuilder) request() request {
	if b.err != nil {
		return request{items: b.items, err: b.err}
	}
	return request{b.items, batched(b.events), nil}
}
