package registration

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill may store something else than it is given: a description without the space at its end, a URL with a slash. Writing
// the same again changes nothing, so what it made of a generation is remembered, and a difference that a write did not remove
// is reported.

// Outcomes is what Mandrill made of the last write for each object. It is in memory only.
type Outcomes struct {
	mu   sync.Mutex
	last map[types.UID]outcome
}

type outcome struct {
	generation int64
	wanted     mandrill.WebhookSpec
	made       mandrill.Webhook
}

// Set records what Mandrill made of a write.
func (o *Outcomes) Set(object *v1alpha1.MandrillWebhook, wanted mandrill.WebhookSpec, made mandrill.Webhook) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = map[types.UID]outcome{}
	}
	o.last[object.UID] = outcome{object.Generation, wanted, made}
}

// Forget forgets an object.
func (o *Outcomes) Forget(object types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.last, object)
}

// Settled returns the differences that a write for this generation has left behind.
func (o *Outcomes) Settled(object *v1alpha1.MandrillWebhook, wanted mandrill.WebhookSpec, have mandrill.Webhook) []string {
	o.mu.Lock()
	last, known := o.last[object.UID]
	o.mu.Unlock()
	known = known && last.generation == object.Generation && last.made.ID == have.ID &&
		last.wanted.URL == wanted.URL && last.wanted.Description == wanted.Description && slices.Equal(last.wanted.Events, wanted.Events)
	var settled []string
	if known && last.made.URL == have.URL {
		settled = append(settled, CauseURL)
	}
	if known && last.made.Description == have.Description {
		settled = append(settled, CauseDescription)
	}
	if known && len(have.Events) > 0 && sameSet(last.made.Events, have.Events) {
		settled = append(settled, CauseEvents)
	}
	return settled
}
