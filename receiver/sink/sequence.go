package sink

import "iter"

const (
	// maxBatchEvents and maxBatchBytes bound a request in Batched mode. A larger event is sent alone.
	maxBatchEvents = 100
	maxBatchBytes  = 1 << 20
)

// request is one or more events that are sent together.
type request struct {
	items   []*Item
	payload Payload
	err     error // the events cannot be encoded
}

// sequences groups the items that are not settled into requests, and these into sequences. The requests of a sequence are
// sent one after the other. All items with an order key are in the same sequence. Items are encoded when their sequence is
// asked for, so that not all encoded events are in memory at once.
func sequences(mode ContentMode, items []*Item) iter.Seq[[]request] {
	if mode == Batched {
		return batchSequences(items)
	}
	return func(yield func([]request) bool) {
		for _, group := range groupByOrder(items) {
			sequence := make([]request, len(group))
			for i, item := range group {
				sequence[i].items = []*Item{item}
				sequence[i].payload, sequence[i].err = item.encode(mode)
			}
			if !yield(sequence) {
				return
			}
		}
	}
}

// groupByOrder groups the items that are not settled by order key. An item without one is a group of its own.
func groupByOrder(items []*Item) [][]*Item {
	groupOf := make(map[string]int, len(items))
	var groups [][]*Item
	for _, item := range items {
		if item.State.settled() {
			continue
		}
		if i, known := groupOf[item.OrderKey]; known && item.OrderKey != "" {
			groups[i] = append(groups[i], item)
			continue
		}
		groupOf[item.OrderKey] = len(groups)
		groups = append(groups, []*Item{item})
	}
	return groups
}

// batchSequences packs groups into requests as long as they fit. A group that needs several requests is a sequence of its
// own.
func batchSequences(items []*Item) iter.Seq[[]request] {
	return func(yield func([]request) bool) {
		var open batchBuilder
		for _, group := range groupByOrder(items) {
			parts := packGroup(group)
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
			sequence := make([]request, len(parts))
			for i, part := range parts {
				sequence[i] = part.request()
			}
			if !yield(sequence) {
				return
			}
		}
		if len(open.items) > 0 {
			yield([]request{open.request()})
		}
	}
}

// batchBuilder collects the events of a request in Batched mode.
type batchBuilder struct {
	items  []*Item
	events []Payload
	size   int // of the body, without its first bracket
	err    error
}

// packGroup packs a group into as few requests as its order allows.
func packGroup(group []*Item) []batchBuilder {
	var parts []batchBuilder
	for _, item := range group {
		event, err := item.encode(Batched)
		single := batchBuilder{items: []*Item{item}, events: []Payload{event}, size: len(event.Body) + 1, err: err}
		if last := len(parts) - 1; last >= 0 && parts[last].fits(single) {
			parts[last].add(single)
		} else {
			parts = append(parts, single)
		}
	}
	return parts
}

// fits reports whether both fit into one request. An event for the dead letter sink, or one that cannot be encoded, is
// sent alone.
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
