package delivery

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Messages of conditions. They have no counts, which would change all the time: these are in status.delivery.
const (
	deliveredMessage   = "The sink accepts the events"
	nothingSentMessage = "Nothing was sent to the sink yet: nothing to do"
	suspendedMessage   = "spec.suspend is true: batches are refused and nothing is sent to the sink until it is false again"
	noReportsMessage   = "No receiver reports about this webhook, so it is not known whether its events are delivered: check that the receiver " +
		"runs with --operator-url, that it reaches the operator, and its log"
	deadLetteringMessage = "The sink accepts events, and others became dead letters in the last minutes: look at them with " +
		"receiver dead-letters list, and redrive them when the sink accepts them"
)

// how says how a sink fails, and what to look at.
type how struct {
	text, withStatus string // the second if the sink answered
	look             string
}

var hows = map[form.Reason]how{
	form.ReasonUnresolved:  {"its name is not resolved", "", "check the name in spec.sink and the cluster's DNS"},
	form.ReasonUnreachable: {"there is no connection", "", "check that it runs, its port, and NetworkPolicies"},
	form.ReasonTLS:         {"its certificate is not accepted", "", "renew the certificate, or put its authority into CACerts of the sink"},
	form.ReasonTimeout:     {"it does not answer in time", "", "find out why it is slow, or raise spec.delivery.timeout"},
	form.ReasonNoAnswer:    {"the connection ends without an answer", "", "look at its log"},
	form.ReasonStatus:      {"it answers with an error", "it answers with status %d", "look at its log"},
	form.ReasonOverloaded:  {"it is overloaded", "it is overloaded and answers with status %d", "give it more resources"},
	form.ReasonRefused:     {"it refuses the events", "it refuses the events with status %d", "look at its log"},
	form.ReasonForbidden:   {"the receiver may not connect to its address", "", "name another sink, or have both programs run with --allow-sink-hosts"},
	form.ReasonToken:       {"the receiver has no token for it", "", "check --oidc-token of the receiver"},
	form.ReasonOther:       {"requests fail", "", "look at its log"},
}

// failingMessage says since when and how a sink fails, and what to do.
func failingMessage(reason string, since time.Time, failure *failure) string {
	how, look := describe(failure)
	text := fmt.Sprintf("The sink has accepted nothing since %s: %s; %s. ", shown(since), how, look)
	switch reason {
	case v1alpha1.ReasonSinkRefusing:
		return text + "Its events become dead letters: redrive them when it accepts them"
	case v1alpha1.ReasonCircuitOpen:
		return text + "Events wait, one request at a time asks whether it works again, and then all are delivered"
	}
	return text + "Events wait in the buffer, or at Mandrill in Direct mode, and are sent again"
}

// describe says how an attempt failed, and what to look at.
func describe(failure *failure) (how, look string) {
	if failure == nil {
		failure = &unknownFailure
	}
	known := hows[failure.reason]
	if failure.status != 0 && known.withStatus != "" {
		return fmt.Sprintf(known.withStatus, failure.status), known.look
	}
	return known.text, known.look
}

var unknownFailure = failure{reason: form.ReasonOther}

// bufferVerdict is for an object whose batches are refused by all receivers.
func bufferVerdict(state form.BufferState, since time.Time) verdict {
	if state == form.BufferFull {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonBufferFull, fmt.Sprintf("The receiver's buffer is full since %s, so that it refuses "+
			"batches, which Mandrill sends again for some hours: repair the sinks that fail, or make the buffer larger", shown(since))}
	}
	return verdict{metav1.ConditionFalse, v1alpha1.ReasonBufferUnavailable, fmt.Sprintf("The receiver cannot write to its buffer since %s, so that it "+
		"refuses batches, which Mandrill sends again for some hours: look at its /readyz and its log", shown(since))}
}

func silentMessage(within string, last time.Time) string {
	return fmt.Sprintf("Nothing was received %s, which is longer than %s, and Mandrill says that it sent nothing: "+
		"check that mail is sent with this account, and that spec.events has what happens to it", sinceLast(last), within)
}

func notArrivingMessage(url string, sent, last time.Time) string {
	return fmt.Sprintf("Mandrill sent batches until %s, and no receiver has accepted events %s: check that %s leads to the receiver "+
		"(DNS, ingress, certificate), and look for refused requests in its log", shown(sent), sinceLast(last), url)
}

func sinceLast(last time.Time) string {
	if last.IsZero() {
		return "yet"
	}
	return "since " + shown(last)
}

// shown is a time as messages have it.
func shown(at time.Time) string { return at.UTC().Truncate(time.Second).Format(time.RFC3339) }
