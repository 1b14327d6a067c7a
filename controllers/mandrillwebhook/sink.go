package mandrillwebhook

import (
	"context"
	"fmt"

	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// sink finds the addresses of the sink and of the dead letter sink.
func (r *Reconciler) sink(ctx context.Context, run *state) error {
	status := &run.webhook.Status
	status.SinkURI, status.SinkCACerts, status.SinkAudience = "", "", ""
	found, err := r.sinks.Resolve(ctx, run.webhook, run.webhook.Spec.Sink)
	if err != nil {
		return err
	}
	status.SinkURI, status.SinkCACerts, status.SinkAudience = webhookurl.Redact(found.URI), found.CACerts, found.Audience
	if spec := sinks.DeadLetter(run.webhook); spec != nil {
		if run.deadLetter, err = r.sinks.Resolve(ctx, run.webhook, *spec); err != nil {
			return fmt.Errorf("delivery.deadLetterSink: %w", err)
		}
	}
	run.sink = found
	return nil
}
