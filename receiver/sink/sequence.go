package sink

import (
	"iter"
	"sync"
)

const (
	// maxBatchEvents and maxBatchBytes bound a request in Batched mode. A larger event is sent alone.
	maxBatchEvents = 100
	maxBatchBytes  = 1 << 20
)

// request is one or more events that are sent together.
type request struct {
	items []*Item
	body  []byte // in Batched mode
}

// groupByOrder groups the items that are not settled by order key. An item without one is a group of its own.
func groupByOrder(items []*Item) [][]*Item {
	groupOf := make(map[string]int, len(items))
	groups := make([][]*Item, 0, len(items))
	for n, item := range items {
		if item.State.settled() {
			continue
		}
		if i, known := groupOf[item.OrderKey]; known && item.OrderKey != "" {
			groups[i] = append(groups[i], item)
			continue
		}
		groupOf[item.OrderKey] = len(groups)
		groups = append(groups, items[n:n+1:n+1]) // most groups have one item; append copies those that get more
	}
	return groups
}

// batchSequences packs groups into requests as long as they fit, and requests into sequences, which are sent one after the other. A group
// that needs several requests is a sequence of its own. Items are encoded when their sequence is asked for, so that not all encoded events
// are in memory at once.
func batchSequences(items []*Item) iter.Seq[[]request] {
	return func(yield func([]request) bool) {
		var open batchBuilder
		for _, group := range groupByOrder(items) {
			if len(group) == 1 && open.encode(group[0]) { // nearly always
				continue
			}
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
	items []*Item
	body  []byte // without the last bracket
}

// packGroup packs a group into as few requests as its order allows.
func packGroup(group []*Item) []batchBuilder {
	parts := make([]batchBuilder, 1)
	for _, item := range group {
		if parts[len(parts)-1].encode(item) {
			continue
		}
		var next batchBuilder
		next.encode(item)
		parts = append(parts, next)
	}
	return parts
}

// encode adds an item, and reports whether it fits. An empty request takes any item. An event for the dead letter sink is sent alone.
func (b *batchBuilder) encode(item *Item) bool {
	before, separator := len(b.body), byte(',')
	switch {
	case before == 0:
		b.body, separator = newBody(), '['
	case !b.joinable() || item.State != Pending || len(b.items) == maxBatchEvents || before+len(item.Event.Data) >= maxBatchBytes:
		return false
	}
	item.encoding(func() { b.body = item.Event.AppendJSON(append(b.body, separator)) })
	if before > 0 && len(b.body) >= maxBatchBytes {
		b.body = b.body[:before]
		return false
	}
	b.items = append(b.items, item)
	return true
}

// fits reports whether both fit into one request.
func (b *batchBuilder) fits(other batchBuilder) bool {
	return b.joinable() && other.joinable() && len(b.items)+len(other.items) <= maxBatchEvents && len(b.body)+len(other.body) < maxBatchBytes
}

func (b *batchBuilder) joinable() bool { return len(b.items) == 0 || b.items[0].State == Pending }

// add adds the events of another request, which is of no use afterwards.
func (b *batchBuilder) add(other batchBuilder) {
	if len(b.items) == 0 {
		*b = other
		return
	}
	b.items = append(b.items, other.items...)
	b.body = append(append(b.body, ','), other.body[1:]...)
	request{body: other.body}.release()
}

func (b *batchBuilder) request() request { return request{b.items, append(b.body, ']')} }

// bodies has buffers of requests in Batched mode that have ended. With a new one for each request they are most of the garbage.
var bodies sync.Pool

// firstBody is the size of a new buffer. A used one has grown to what requests take.
const firstBody = 32 << 10

// newBody returns an empty buffer.
func newBody() []byte {
	if used, ok := bodies.Get().(*[]byte); ok {
		return *used
	}
	return make([]byte, 0, firstBody)
}

// release lets others use the buffer. The request has ended. The buffer of a large event is not kept.
func (r request) release() {
	if body := r.body[:0]; cap(body) <= 2*maxBatchBytes {
		bodies.Put(&body)
	}
}
