package main

import (
	"fmt"
	"slices"
	"strings"
)

// benchCase is a shape of load.
type benchCase struct {
	size     int // events of a batch
	inflight int // batches at a time
	webhooks int
	batches  int
}

func (c benchCase) name() string { return fmt.Sprintf("%dx%dx%d", c.size, c.inflight, c.webhooks) }

// requests is how many requests to the sink the receiver may have under way: 64 for each webhook, and 32 for each batch.
func (c benchCase) requests() int {
	return min(c.inflight*min(c.size, 32), 64*c.webhooks)
}

// cases vary one dimension each: the size of batches, the number of batches at a time, and that of webhooks.
var cases = []benchCase{
	{size: 1, inflight: 1, webhooks: 1, batches: 1500},
	{size: 1, inflight: 8, webhooks: 1, batches: 4000},
	{size: 100, inflight: 8, webhooks: 1, batches: 160},
	{size: 1000, inflight: 1, webhooks: 1, batches: 10},
	{size: 1000, inflight: 8, webhooks: 1, batches: 16},
	{size: 1000, inflight: 64, webhooks: 1, batches: 64},
	{size: 1000, inflight: 8, webhooks: 10, batches: 16},
	{size: 1000, inflight: 8, webhooks: 100, batches: 16},
}

// subject is a program that is measured. Its role is that of the process whose time counts; empty: the receiver.
type subject struct {
	name    string
	role    string
	batched bool // events go to the sink in batches
}

var subjects = []subject{
	{name: "direct"},
	{name: "direct-batched", batched: true},
	{name: "plain", role: rolePlain},
	{name: "raw", role: roleNetHTTP},
	{name: "raw-fasthttp", role: roleFastHTTP},
	{name: "raw-batched", role: roleNetHTTP, batched: true},
	{name: "floor-batched", role: roleFloor, batched: true},
}

// comparison is a ratio of two subjects, of events a second and of processor time an event: above 1 the first one is better.
type comparison struct{ name, of, to string }

// comparisons are those of which the baseline is kept; explanations say what a part of them is made of, and are only printed.
var (
	comparisons = []comparison{
		{"Binary ÷ raw net/http poster", "direct", "raw"},
		{"Binary ÷ raw fasthttp poster", "direct", "raw-fasthttp"},
		{"Binary ÷ plain receiver", "direct", "plain"},
		{"Batched ÷ floor", "direct-batched", "floor-batched"},
	}
	explanations = []comparison{
		{"Batched ÷ raw batch poster", "direct-batched", "raw-batched"}, // not kept: the poster's time per event varies too much
		{"floor ÷ raw batch poster", "floor-batched", "raw-batched"},
	}
)

// selected reports whether a comma-separated list has a name; an empty one has all.
func selected(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}
