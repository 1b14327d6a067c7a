package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/cli/reasons"
)

// receivers looks at the pods, their reports and the buffer.
func (d *doctor) receivers(ctx context.Context) []Finding {
	var findings []Finding
	receivers, err := d.cluster.Receivers(ctx, &d.env.Flags, d.webhook.Namespace)
	if err != nil {
		findings = skip(err)
	}
	down := 0
	for _, receiver := range receivers {
		if !receiver.Running {
			down++
			findings = append(findings, finding(Fail, fmt.Sprintf("the receiver %s does not run: %s", receiver, receiver.State),
				fmt.Sprintf("kubectl describe pod %s -n %s", receiver.Pod, receiver.Namespace))...)
		}
	}
	if len(receivers) > down {
		findings = append(findings, ok("%s", output.Counted(len(receivers)-down, "receiver runs", "receivers run"))...)
	}
	return append(findings, d.reporters()...)
}

// reporters looks at who reports, and at the state of the buffer that they report.
func (d *doctor) reporters() []Finding {
	delivery, condition := d.webhook.Status.Delivery, meta.FindStatusCondition(d.webhook.Status.Conditions, v1alpha1.ConditionDelivered)
	if condition != nil {
		switch condition.Reason {
		case v1alpha1.ReasonBufferFull, v1alpha1.ReasonBufferUnavailable, v1alpha1.ReasonNoReports:
			return d.unmet(Fail, condition, condition.Message)
		}
	}
	if delivery == nil {
		return finding(Warn, "no receiver has reported about the webhook yet", reasons.Remedy(v1alpha1.ReasonNoReports))
	}
	var silent []string
	for _, reporter := range delivery.Receivers {
		if reporter.Silent {
			silent = append(silent, reporter.Name)
		}
	}
	if len(silent) > 0 {
		return finding(Warn, "these receivers do not report any more: "+strings.Join(silent, ", "), "Look at their pods and logs.")
	}
	text := fmt.Sprintf("%s wait in the buffer", output.Counted(int(delivery.WaitingEvents), "event", "events"))
	if delivery.WaitingEvents == 1 {
		text = "1 event waits in the buffer"
	}
	if delivery.LostMessages > 0 {
		return finding(Fail, fmt.Sprintf("%s, and %d stored batches have vanished", text, delivery.LostMessages), reasons.Remedy(v1alpha1.ReasonMessagesLost))
	}
	return ok("%s", text)
}

// sink shows what receivers report of the sink.
func (d *doctor) sink(context.Context) []Finding {
	status, address := d.webhook.Status, access.SinkAddress(d.webhook)
	if provided := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionSinkProvided); provided != nil && provided.Status == metav1.ConditionFalse {
		return d.unmet(Fail, provided, provided.Message)
	}
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDelivered)
	name := strings.TrimSpace("the sink " + address)
	last, how := d.lastFailure()
	switch {
	case condition == nil:
		return finding(Warn, "no receiver has reported about "+name, reasons.Remedy(v1alpha1.ReasonNoReports))
	case condition.Status == metav1.ConditionTrue:
		return ok("%s", join(name+" "+d.accepted(), last+how))
	case condition.Reason == v1alpha1.ReasonNothingSent && last != "":
		return finding(Warn, name+" has not accepted an event yet; "+last+how, "A failure is shown as such after a minute: run the command again, and look at the sink.")
	case condition.Reason == v1alpha1.ReasonNothingSent:
		return finding(Warn, "nothing was sent to "+name+" yet", "kubectl mandrill test "+d.webhook.Name+" -n "+d.webhook.Namespace+" sends a test event to it.")
	case condition.Status == metav1.ConditionFalse:
		return d.unmet(Fail, condition, join(access.NameSink(condition.Message, address), last))
	}
	return d.unmet(Warn, condition, condition.Message)
}

// failures say how an attempt failed, by the reason that receivers report.
var failures = map[reports.Reason]string{
	reports.ReasonUnresolved: "its name was not resolved", reports.ReasonUnreachable: "there was no connection",
	reports.ReasonTLS: "its certificate was not accepted", reports.ReasonTimeout: "it did not answer in time",
	reports.ReasonNoAnswer: "the connection ended without an answer", reports.ReasonStatus: "it answered with an error",
	reports.ReasonOverloaded: "it was overloaded", reports.ReasonRefused: "it refused the event",
	reports.ReasonForbidden: "the receiver may not connect to its address", reports.ReasonToken: "the receiver had no token for it",
}

// lastFailure says when an attempt failed last, and how. Both are empty if none is known.
func (d *doctor) lastFailure() (when, how string) {
	if d.webhook.Status.Delivery == nil || d.webhook.Status.Delivery.LastFailure == nil {
		return "", ""
	}
	failure := d.webhook.Status.Delivery.LastFailure
	when = "an attempt failed " + output.Age(d.env.Now().Sub(failure.At.Time)) + " ago"
	if how = failures[reports.Reason(failure.Reason)]; how != "" && failure.Status != 0 {
		how += fmt.Sprintf(" (status %d)", failure.Status)
	}
	if how != "" {
		how = ": " + how
	}
	return when, how
}

// accepted says when the sink accepted an event.
func (d *doctor) accepted() string {
	delivery := d.webhook.Status.Delivery
	if delivery == nil || delivery.LastDeliveredAt == nil {
		return "accepted events"
	}
	return "accepted an event " + output.Age(d.env.Now().Sub(delivery.LastDeliveredAt.Time)) + " ago"
}

func join(text, more string) string {
	if more == "" {
		return text
	}
	return text + "; " + more
}

// reportLag is how long the first event may take to the status.
const reportLag = 2 * time.Minute

// statusLag is how old the times in the status may be, and how long a batch may be under way.
const statusLag = 5 * time.Minute

// counters compares what Mandrill has sent with what has arrived.
func (d *doctor) counters(ctx context.Context) []Finding {
	upstream := d.webhook.Status.Upstream
	var sent *metav1.Time
	var created time.Time
	events, batches := int64(0), int64(0)
	if upstream != nil {
		sent, events, batches = upstream.LastSentAt, upstream.EventsSent, upstream.BatchesSent
		if upstream.CreatedAt != nil {
			created = upstream.CreatedAt.Time
		}
	}
	if d.remote != nil { // it is newer
		events, batches, created = d.remote.EventsSent, d.remote.BatchesSent, d.remote.CreatedAt.Time
		if !d.remote.LastSentAt.IsZero() {
			sent = &metav1.Time{Time: d.remote.LastSentAt.Time}
		}
	}
	if sent == nil {
		return finding(Warn, "Mandrill has not sent anything yet", "Is mail sent with this account? Mandrill's page of webhooks has a button that sends a test.")
	}
	age := d.env.Now().Sub(sent.Time)
	text := fmt.Sprintf("Mandrill has sent %s in %s, the last %s ago",
		output.Counted(int(events), "event", "events"), output.Counted(int(batches), "batch", "batches"), output.Age(age))
	if age > d.since {
		return finding(Warn, text+", longer than --since", "Is mail sent with this account?")
	}
	return append(d.arrived(text, sent.Time), d.numbers(ctx, events, created, age > statusLag)...)
}

// arrived compares when Mandrill sent last with when a receiver received.
func (d *doctor) arrived(text string, sent time.Time) []Finding {
	delivery, age := d.webhook.Status.Delivery, d.env.Now().Sub(sent)
	switch {
	case delivery == nil:
		return skip(errors.New(text + ", and no receiver reports what it has received"))
	case delivery.LastReceivedAt == nil && age < reportLag:
		return finding(Warn, text+", and no receiver has reported any yet", "Receivers report every 30 seconds: ask again in a minute.")
	case delivery.LastReceivedAt == nil:
		return finding(Fail, text+", and no receiver has received any", "Batches do not arrive: the checks of the public URL above say where they end.")
	}
	received := d.env.Now().Sub(delivery.LastReceivedAt.Time)
	text += ", and a receiver received " + output.Age(received) + " ago"
	if sent.Sub(delivery.LastReceivedAt.Time) > statusLag && age > statusLag {
		return finding(Fail, text, "What Mandrill sent last has not arrived: the checks of the public URL above say where it ended.")
	}
	return ok("%s", text)
}
