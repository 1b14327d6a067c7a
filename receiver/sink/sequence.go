package sink

import "iter"

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
		var scratch []byte
		for _, group := range groupByOrder(items) {
			parts := packGroup(group, &scratch)
			if len(parts) == 1 && open.fits(parts[0]) {
				open.add(parts[0])
				continue
			}
			if len(open.items) > 0 && !yield([]request{open.request()}) {
				return
			}
			open = batchBuilder{}
			if len(parts) == 1 {
				open.add(parts[0])
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

// packGroup packs a group into as few requests as its order allows. Scratch has what a part of one event is encoded in, until the next
// group is packed.
func packGroup(group []*Item, scratch *[]byte) []batchBuilder {
	parts := make([]batchBuilder, 0, 1)
	for i, item := range group {
		item.encoding(func() { *scratch = item.Event.AppendJSON(append((*scratch)[:0], '[')) })
		single := batchBuilder{group[i : i+1 : i+1], *scratch}
		switch last := len(parts) - 1; {
		case last >= 0 && parts[last].fits(single):
			parts[last].add(single)
		case len(group) > 1:
			parts = append(parts, batchBuilder{})
			parts[last+1].add(single)
		default:
			parts = append(parts, single)
		}
	}
	return parts
}

// fits reports whether both fit into one request. An event for the dead letter sink is sent alone.
func (b *batchBuilder) fits(other batchBuilder) bool {
	return b.joinable() && other.joinable() && len(b.items)+len(other.items) <= maxBatchEvents && len(b.body)+len(other.body) < maxBatchBytes
}

func (b *batchBuilder) joinable() bool { return len(b.items) == 0 || b.items[0].State == Pending }

// firstBody is the size of the first buffer for a body of several events, at most.
const firstBody = 32 << 10

// add adds a copy of the events of another request.
func (b *batchBuilder) add(other batchBuilder) {
	if len(b.items) == 0 {
		size := max(len(other.body)+1, min(4*len(other.body), firstBody))
		b.items, b.body = other.items, append(make([]byte, 0, size), other.body...)
		return
	}
	b.items = append(b.items, other.items...)
	b.body = append(append(b.body, ','), other.body[1:]...)
}

func (b *batchBuilder) request() request { return request{b.items, append(b.body, ']')} }
