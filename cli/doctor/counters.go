package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

// Metrics of receivers.
const (
	receivedMetric = "mandrill_receiver_received_events_total"
	startMetric    = "process_start_time_seconds"
)

// received is what receivers have counted of a webhook. Their counters begin with their processes.
type received struct {
	events        int64
	oldest, since time.Time // when the first and the last process started
	unknown       []string  // receivers that were not asked, and why
}

// receivedEvents reads the counters of all receivers of the webhook.
func (d *doctor) receivedEvents(ctx context.Context) (total received, err error) {
	receivers, err := d.cluster.Receivers(ctx, &d.env.Flags, d.webhook.Namespace)
	if err != nil {
		return total, err
	}
	series := fmt.Sprintf(`%s{webhook=%q}`, receivedMetric, d.webhook.Namespace+"/"+d.webhook.Name)
	for _, receiver := range receivers {
		metrics, err := d.cluster.ReceiverMetrics(ctx, receiver)
		if forbidden := new(access.ForbiddenError); errors.As(err, &forbidden) {
			return total, err // so it is for all
		}
		started, ok := sample(metrics, startMetric)
		if err != nil || !ok {
			total.unknown = append(total.unknown, receiver.String())
			continue
		}
		events, _ := sample(metrics, series) // absent: none was received
		total.add(int64(events), time.Unix(0, int64(started*float64(time.Second))))
	}
	return total, nil
}

func (r *received) add(events int64, started time.Time) {
	r.events += events
	if r.oldest.IsZero() || started.Before(r.oldest) {
		r.oldest = started
	}
	if started.After(r.since) {
		r.since = started
	}
}

// sample returns the value of a series.
func sample(metrics []byte, series string) (float64, bool) {
	for name, value := range access.Samples(metrics) {
		if name == series {
			return value, true
		}
	}
	return 0, false
}

// numbers compares how many events Mandrill has counted with how many receivers have. Mandrill counts from the creation of the webhook
// and receivers from the start of their processes, so that the numbers can be compared if the webhook is younger than all of these.
func (d *doctor) numbers(ctx context.Context, sent int64, created time.Time, settled bool) []Finding {
	got, err := d.receivedEvents(ctx)
	switch {
	case err != nil:
		return skip(fmt.Errorf("the numbers of events: %w", err))
	case len(got.unknown) > 0:
		return skip(fmt.Errorf("the numbers of events: %s did not show metrics", strings.Join(got.unknown, ", ")))
	case created.IsZero():
		return skip(errors.New("the numbers of events: Mandrill does not say when the webhook was created"))
	}
	age := func(at time.Time) string { return output.Age(d.env.Now().Sub(at)) + " ago" }
	events := output.Counted(int(got.events), "event", "events")
	if got.since.After(created) {
		began := age(got.since)
		if first := age(got.oldest); first != began {
			began = first + " to " + began
		}
		return ok("receivers have counted %s since they started %s, and Mandrill %d since it created the webhook %s: with different beginnings, "+
			"the numbers need not agree", events, began, sent, age(created))
	}
	text := fmt.Sprintf("receivers have counted %s, and Mandrill %d, since it created the webhook %s", events, sent, age(created))
	switch {
	case got.events == sent:
		return ok("%s", text)
	case got.events > sent:
		return ok("%s: receivers also count the events of kubectl mandrill test", text)
	case !settled:
		return ok("%s: some may be under way", text)
	case got.events == 0:
		return finding(Fail, text, "Nothing that Mandrill sends arrives: the checks of the public URL above say where it ends.")
	}
	return finding(Warn, text, "Mandrill may count a batch again that it sends again, and a receiver that is gone has taken its counter along. "+
		"Otherwise batches were refused: the receiver's log says why, and Mandrill sends them again for some hours.")
}
