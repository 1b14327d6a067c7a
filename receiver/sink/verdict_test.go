package sink_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	const maxAge = time.Hour
	const young, old = maxAge, maxAge + 1
	down := errors.New("down")
	refused := &sink.Error{Status: 410}
	asked := &sink.Error{Status: 429, After: 7 * time.Second}
	blocked := &sink.Error{Err: down, After: 5 * time.Second}
	retry := func(most int) *sink.Retry { return &sink.Retry{Max: most} }
	deadLetterSink := &sink.Target{URI: "dead"}

	done, wait := sink.Verdict{Action: sink.ActionDone}, sink.Verdict{Action: sink.ActionWait}
	again := func(after time.Duration) sink.Verdict { return sink.Verdict{Action: sink.ActionRetry, After: after} }
	toSink := func(reason sink.Reason, after time.Duration) sink.Verdict {
		return sink.Verdict{Action: sink.ActionDeadLetterSink, Reason: reason, After: after}
	}
	refusedItem := func(err error, attempts int) sink.Item {
		return sink.Item{State: sink.Refused, Attempts: 1, Err: refused, DeadLetterErr: err, DeadLetterAttempts: attempts}
	}
	exhaustedItem := func(err error, attempts int) sink.Item {
		return sink.Item{State: sink.Exhausted, Attempts: 4, Err: down, DeadLetterErr: err, DeadLetterAttempts: attempts}
	}
	giveUp := func(reason sink.Reason) sink.Verdict {
		return sink.Verdict{Action: sink.ActionDeadLetter, Reason: reason}
	}

	for name, test := range map[string]struct {
		retry *sink.Retry
		dead  *sink.Target
		item  sink.Item
		age   time.Duration
		want  sink.Verdict
	}{
		"accepted":                  {retry: retry(3), item: sink.Item{State: sink.Accepted, Attempts: 1}, want: done},
		"accepted late":             {retry: retry(3), item: sink.Item{State: sink.Accepted, Attempts: 9}, age: old, want: done},
		"accepted as a dead letter": {retry: retry(3), dead: deadLetterSink, item: sink.Item{State: sink.DeadLettered, Attempts: 9, Err: refused, DeadLetterAttempts: 9}, age: old, want: done},

		"not sent":                    {retry: retry(3), want: wait},
		"not sent, old":               {retry: retry(3), age: old, want: wait},
		"not sent, without Retry":     {want: wait},
		"held back, old":              {retry: retry(3), item: sink.Item{Attempts: 3}, age: old, want: wait},
		"held back, fewer retries":    {retry: retry(3), item: sink.Item{Attempts: 4}, want: giveUp(sink.ReasonExhausted)},
		"held back, dead letter sink": {retry: retry(3), dead: deadLetterSink, item: sink.Item{Attempts: 4}, want: wait},

		"first failure":          {retry: retry(3), item: sink.Item{Attempts: 1, Err: down}, want: again(time.Second)},
		"last retry is left":     {retry: retry(3), item: sink.Item{Attempts: 3, Err: down}, want: again(4 * time.Second)},
		"exponential":            {retry: &sink.Retry{Max: 9, Backoff: time.Second / 2}, item: sink.Item{Attempts: 4, Err: down}, want: again(4 * time.Second)},
		"linear":                 {retry: &sink.Retry{Max: 9, Backoff: time.Second / 2, Linear: true}, item: sink.Item{Attempts: 4, Err: down}, want: again(2 * time.Second)},
		"the hundredth":          {retry: &sink.Retry{Max: 100, Backoff: 30 * time.Second}, item: sink.Item{Attempts: 100, Err: down}, want: again(10 * time.Minute)},
		"circuit open":           {retry: retry(3), item: sink.Item{Err: blocked}, want: again(5 * time.Second)},
		"Retry-After":            {retry: retry(3), item: sink.Item{Attempts: 1, Err: asked}, want: again(7 * time.Second)},
		"backoff is longer":      {retry: retry(9), item: sink.Item{Attempts: 5, Err: asked}, want: again(16 * time.Second)},
		"of the greatest age":    {retry: retry(3), item: sink.Item{Attempts: 1, Err: down}, age: young, want: again(time.Second)},
		"with dead letter sink":  {retry: retry(3), dead: deadLetterSink, item: sink.Item{Attempts: 3, Err: down}, want: again(4 * time.Second)},
		"expired":                {retry: retry(3), item: sink.Item{Attempts: 1, Err: down}, age: old, want: giveUp(sink.ReasonExpired)},
		"expired, never sent":    {retry: retry(3), item: sink.Item{Err: blocked}, age: old, want: giveUp(sink.ReasonExpired)},
		"expired, not exhausted": {retry: retry(3), dead: deadLetterSink, item: sink.Item{Attempts: 3, Err: down}, age: old, want: giveUp(sink.ReasonExpired)},

		"no retries":                   {item: sink.Item{Attempts: 1, Err: down}, want: giveUp(sink.ReasonExhausted)},
		"no retries, dead letter sink": {dead: deadLetterSink, item: sink.Item{Attempts: 1, Err: down}, want: giveUp(sink.ReasonExhausted)},
		"zero retries":                 {retry: retry(0), item: sink.Item{Attempts: 1, Err: down}, want: giveUp(sink.ReasonExhausted)},
		"exhausted":                    {retry: retry(3), item: sink.Item{Attempts: 4, Err: down}, want: giveUp(sink.ReasonExhausted)},
		"exhausted and expired":        {retry: retry(3), item: sink.Item{Attempts: 4, Err: down}, age: old, want: giveUp(sink.ReasonExhausted)},
		"exhausted, dead letter sink":  {retry: retry(3), dead: deadLetterSink, item: sink.Item{Attempts: 4, Err: down}, want: toSink(sink.ReasonExhausted, 0)},
		"exhausted before":             {retry: retry(3), item: exhaustedItem(nil, 0), want: giveUp(sink.ReasonExhausted)},

		"refused":                               {retry: retry(3), item: sink.Item{Attempts: 1, Err: refused}, want: giveUp(sink.ReasonRefused)},
		"refused before":                        {retry: retry(3), item: refusedItem(nil, 0), want: giveUp(sink.ReasonRefused)},
		"refused before, now it is down":        {retry: retry(3), item: sink.Item{State: sink.Refused, Attempts: 1, Err: down}, want: giveUp(sink.ReasonRefused)},
		"refused and expired":                   {retry: retry(3), item: refusedItem(nil, 0), age: old, want: giveUp(sink.ReasonRefused)},
		"refused, no retries":                   {item: refusedItem(nil, 0), want: giveUp(sink.ReasonRefused)},
		"refused, dead letter sink":             {retry: retry(3), dead: deadLetterSink, item: sink.Item{Attempts: 1, Err: refused}, want: toSink(sink.ReasonRefused, 0)},
		"refused, no retries, dead letter sink": {dead: deadLetterSink, item: refusedItem(down, 99), want: toSink(sink.ReasonRefused, 0)},

		"dead letter sink failed":                {retry: retry(3), dead: deadLetterSink, item: refusedItem(down, 2), want: toSink(sink.ReasonRefused, 2*time.Second)},
		"dead letter sink refused":               {retry: retry(3), dead: deadLetterSink, item: refusedItem(refused, 2), want: toSink(sink.ReasonRefused, 2*time.Second)},
		"dead letter sink is blocked":            {retry: retry(3), dead: deadLetterSink, item: exhaustedItem(blocked, 0), want: toSink(sink.ReasonExhausted, 5*time.Second)},
		"dead letter sink has failed too often":  {retry: retry(3), dead: deadLetterSink, item: exhaustedItem(down, 4), want: giveUp(sink.ReasonExhausted)},
		"dead letter sink has refused too often": {retry: retry(3), dead: deadLetterSink, item: refusedItem(refused, 4), want: giveUp(sink.ReasonRefused)},
		"dead letter sink failed until expiry":   {retry: retry(3), dead: deadLetterSink, item: refusedItem(down, 1), age: old, want: giveUp(sink.ReasonExpired)},
		"dead letter sink was removed":           {retry: retry(3), item: exhaustedItem(down, 1), want: giveUp(sink.ReasonExhausted)},
	} {
		delivery := sink.Delivery{Retry: test.retry, DeadLetter: test.dead}
		if got := delivery.Verdict(&test.item, test.age, maxAge); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if got := delivery.Verdict(&test.item, test.age, 0); got.Reason == sink.ReasonExpired {
			t.Errorf("%s: expired without a limit", name)
		}
	}
}

// Next is for callers that retry at once: the longest pause, if any item is to be sent again.
func TestNext(t *testing.T) {
	t.Parallel()
	failed := func(attempts int, err error) *sink.Item { return &sink.Item{Attempts: attempts, Err: err} }
	down := errors.New("down")
	for name, test := range map[string]struct {
		retry *sink.Retry
		items []*sink.Item
		pause time.Duration
		again bool
	}{
		"no retries":       {nil, []*sink.Item{failed(1, down)}, 0, false},
		"first":            {&sink.Retry{Max: 3}, []*sink.Item{failed(1, down)}, time.Second, true},
		"exponential":      {&sink.Retry{Max: 9, Backoff: time.Second / 2}, []*sink.Item{failed(4, down)}, 4 * time.Second, true},
		"linear":           {&sink.Retry{Max: 9, Backoff: time.Second / 2, Linear: true}, []*sink.Item{failed(4, down)}, 2 * time.Second, true},
		"the hundredth":    {&sink.Retry{Max: 100, Backoff: 30 * time.Second}, []*sink.Item{failed(100, down)}, 10 * time.Minute, true},
		"used up":          {&sink.Retry{Max: 3}, []*sink.Item{failed(4, down)}, 0, false},
		"refused":          {&sink.Retry{Max: 3}, []*sink.Item{{State: sink.Refused, Attempts: 1, Err: down}}, 0, false},
		"held back":        {&sink.Retry{Max: 3}, []*sink.Item{{}}, 0, false},
		"not sent":         {&sink.Retry{Max: 3}, []*sink.Item{failed(0, &sink.Error{Err: down, After: 5 * time.Second})}, 5 * time.Second, true},
		"Retry-After":      {&sink.Retry{Max: 3}, []*sink.Item{failed(1, &sink.Error{Status: 429, After: 7 * time.Second})}, 7 * time.Second, true},
		"the longest":      {&sink.Retry{Max: 3}, []*sink.Item{failed(1, down), failed(2, down)}, 2 * time.Second, true},
		"nothing is left":  {&sink.Retry{Max: 3}, nil, 0, false},
		"accepted by then": {&sink.Retry{Max: 3}, []*sink.Item{{State: sink.Accepted, Attempts: 1}}, 0, false},
	} {
		if pause, again := (sink.Delivery{Retry: test.retry}).Next(test.items); pause != test.pause || again != test.again {
			t.Errorf("%s: %s, %t, want %s, %t", name, pause, again, test.pause, test.again)
		}
	}
}
