package probe

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// The pool calls Changed when there is something new to say, so a step need not look again by itself. It does all the same.
const (
	pendingRecheck  = 2 * Timeout
	unservedRecheck = 5 * time.Minute
)

// Receiver is the receiver of an object, for messages.
type Receiver struct {
	URL      string // of the object, with its secrets hidden
	Secret   string // from which it reads its routes
	Sidecar  bool
	Buffered bool // it must have a buffer
}

// StepError returns nil if the URL is served, or what the step returns that asked.
func (a Answer) StepError(receiver Receiver) error {
	name, serves := "receiver", "does not serve %s yet"
	if receiver.Sidecar {
		name = "sidecar"
	}
	if !a.Known {
		return controllers.Pending(v1alpha1.ReasonProbing, pendingRecheck,
			fmt.Errorf("the %s has been asked for %s, and has not answered yet", name, receiver.URL))
	}
	if a.Err == nil {
		return nil
	}
	first := ""
	if receiver.Buffered && lacksBuffer(a.Err) {
		first = "delivery.mode Buffered needs a receiver with a buffer: run it with --buffer, or leave delivery.mode out or write Direct; if it has one, "
	}
	if a.Lost {
		serves = "no longer serves %s"
	}
	serves = fmt.Sprintf(serves, receiver.URL)
	check := fmt.Sprintf("check that it runs, that it reads the Secret %s, and that the operator reaches it, by --receiver-url or at the URL itself", receiver.Secret)
	if receiver.Sidecar {
		check = fmt.Sprintf("check that its pod mounts the Secret %s, that it runs the receiver with --config on the Secret's %s, and that the URL leads there from here too", receiver.Secret, routes.Key)
	}
	if status := new(StatusError); errors.As(a.Err, &status) && status.Status == http.StatusNotFound {
		check = "look whether the ingress strips or rewrites the path; otherwise " + check
	}
	return controllers.Waiting(v1alpha1.ReasonRouteNotServed, unservedRecheck,
		fmt.Errorf("the %s %s (%w): %s%s", name, serves, a.Err, first, check))
}

// lacksBuffer reports whether a probe failed as it does at a receiver that should buffer and has no buffer. A proxy
// without a receiver behind it answers the same. Only HEAD is conclusive: a batch gets 503 for other reasons too.
func lacksBuffer(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Method == http.MethodHead && status.Status == http.StatusServiceUnavailable
}
