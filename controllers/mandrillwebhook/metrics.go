package mandrillwebhook

import "github.com/mandrill-operator/mandrill-operator/controllers/registration"

// Causes of drift repairs: what had changed since the operator last wrote it.
const (
	causeURL         = registration.CauseURL
	causeDescription = registration.CauseDescription
	causeEvents      = registration.CauseEvents
	causeDisabled    = "disabled"
	causeDeleted     = "deleted"
	causeKey         = "key"
	causeSecret      = "secret"
	causeInbound     = "inbound"
)
