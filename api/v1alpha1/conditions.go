package v1alpha1

// Every condition and every reason, with what the user does about it. All conditions are positive, except kstatus's.
//
// The first sentence of a reason says what it means, and those after it what to do. They are shown beside the condition's message, so they
// do not refer to other reasons. Sentences that begin with Also are for readers of this file.
const (
	// ConditionReady: the webhook is registered and its events reach the receiver. It is True if those of the five
	// conditions after it that are present are; otherwise it has the reason and message of the first that is not.
	ConditionReady = "Ready"
	// ConditionSinkProvided: the sink has an address.
	ConditionSinkProvided = "SinkProvided"
	// ConditionReceiverReady: the receiver answers for the webhook's URL.
	ConditionReceiverReady = "ReceiverReady"
	// ConditionRegistered: Mandrill has the webhook as the spec says.
	ConditionRegistered = "Registered"
	// ConditionSigningKeyStored: the Secret holds the key that Mandrill signs with, and the receiver knows it.
	ConditionSigningKeyStored = "SigningKeyStored"
	// ConditionInboundReady: mail for the routes of spec.inbound reaches the webhook's URL. Absent without spec.inbound.
	ConditionInboundReady = "InboundReady"
	// ConditionEventsAccepted: Mandrill has accepted all events of the spec. It does not count for Ready.
	ConditionEventsAccepted = "EventsAccepted"
	// ConditionDelivering is Mandrill's own view of whether it can deliver. It does not count for Ready.
	ConditionDelivering = "Delivering"
	// ConditionDelivered: the sink accepts the events, as the receivers report. It does not count for Ready: the webhook is in
	// order, Mandrill's batches are accepted, and a sink that fails for some minutes must not make a rollout fail.
	ConditionDelivered = "Delivered"
	// ConditionReceiving: events come as often as spec.expectEvents says. Absent without it. It does not count for Ready.
	ConditionReceiving = "Receiving"
	// ConditionAlertSinkReady: spec.alertSink has an address and accepts alerts. Absent without it. It does not count for Ready.
	ConditionAlertSinkReady = "AlertSinkReady"
	// ConditionURLExclusive: nothing else posts to the webhook's URL or claims it, as far as the operator sees. It does not
	// count for Ready.
	ConditionURLExclusive = "URLExclusive"
	// ConditionReconciling is kstatus's: the operator is still working on the spec. Absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is kstatus's: the operator waits for the user to change something. Absent otherwise.
	ConditionStalled = "Stalled"
)

// Reasons of any condition.
const (
	// ReasonSucceeded: nothing to do.
	ReasonSucceeded = "Succeeded"
	// ReasonRetrying: something failed that may pass, as the message says. The operator tries again by itself.
	ReasonRetrying = "Retrying"
	// ReasonProgressing: the operator has not done this yet; an earlier condition says why.
	ReasonProgressing = "Progressing"
	// ReasonDeleting: the object is being deleted; the message says what is done, or what is in the way.
	ReasonDeleting = "Deleting"
)

// Reasons of SinkProvided.
const (
	// ReasonSinkNotFound: the object named by spec.sink.ref does not exist, or its kind is not installed.
	// Create it, or correct the reference.
	ReasonSinkNotFound = "SinkNotFound"
	// ReasonSinkNotAddressable: the object has no status.address.url (yet). Wait for it to become ready, or
	// name an object that can receive events.
	ReasonSinkNotAddressable = "SinkNotAddressable"
	// ReasonSinkNotAllowed: the operator's installation does not allow this sink, such as one in another
	// namespace. Name a sink that it allows, or ask the administrator of the operator.
	ReasonSinkNotAllowed = "SinkNotAllowed"
	// ReasonSinkCertificateInvalid: the CACerts of the sink hold no PEM certificate. Put one there, or leave them out.
	ReasonSinkCertificateInvalid = "SinkCertificateInvalid"
	// ReasonSinkUnsupported: the sink asks for an OIDC token for an audience that the receiver has no token for. Give the
	// receiver a token and allow its audience, by --oidc-token of the receiver and --sink-audiences of the operator, or name another sink.
	ReasonSinkUnsupported = "SinkUnsupported"
)

// Reasons of ReceiverReady.
const (
	// ReasonURLMissing: spec.url is empty and the operator has no public URL to make one from. Set spec.url, or
	// run the operator with --public-url.
	ReasonURLMissing = "URLMissing"
	// ReasonURLNotAllowed: spec.url is below the operator's public URL at a place of another namespace. Leave it out, or write
	// a path that begins with the object's namespace.
	ReasonURLNotAllowed = "URLNotAllowed"
	// ReasonURLSecretNotFound: the Secret of spec.urlSecretRef does not exist. Create it.
	ReasonURLSecretNotFound = "URLSecretNotFound" //nolint:gosec // a reason
	// ReasonURLSecretMissing: the Secret does not have the key of spec.urlSecretRef, or it is empty. Add it.
	ReasonURLSecretMissing = "URLSecretMissing"
	// ReasonSecretNotAllowed: the Secret of spec.urlSecretRef does not have the annotation
	// mandrill-operator.io/allow-url-secret: "true", without which no value of it is put into a URL, or it is a Secret that the operator
	// itself writes. Add the annotation if the Secret is meant for that, or name another Secret. Also a reason of Registered.
	ReasonSecretNotAllowed = "SecretNotAllowed"
	// ReasonRouteNotServed: the receiver does not answer for the URL yet, or has stopped to. If it lasts, check that the receiver
	// runs, that it reads the Secret of the operator's --routes-secret or, as a Sidecar, the Secret that its pod
	// mounts, and that the operator reaches it. With delivery.mode Buffered and an answer of 503 it has no buffer: run it
	// with one, or leave delivery.mode out or write Direct.
	ReasonRouteNotServed = "RouteNotServed"
	// ReasonProbing: the receiver has been asked for the URL, and has not answered yet; the condition is Unknown. If it lasts,
	// the URL or --receiver-url leads to a server that accepts connections and says nothing, or its name is not resolved.
	ReasonProbing = "Probing"
	// ReasonRoutesFull: the Secrets that the receiver reads have no room for another route. Delete MandrillWebhooks
	// that are not needed, or divide them between two installations, by --watch-namespaces or by spec.installation.
	ReasonRoutesFull = "RoutesFull"
	// ReasonQuotaExceeded: the namespace has as many MandrillWebhooks, or as many bytes of routes, as the operator's
	// installation allows. Delete some, make them smaller, or ask the administrator of the operator.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonSuspended: the receiver refuses batches with 503, as spec.suspend says; Mandrill keeps them for some
	// hours. Set spec.suspend to false to resume. Also a reason of Delivering, Delivered and Receiving.
	ReasonSuspended = "Suspended"
	// ReasonURLConflict: another MandrillWebhook, which the message names, has the same URL. Change one of them. After a rename,
	// delete that one: this one then takes over its webhook. Also a reason of URLExclusive, at the object that keeps the URL.
	ReasonURLConflict = "URLConflict"
)

// Reasons of Registered.
const (
	// ReasonRegistering: Mandrill has been asked to register the webhook, and has not answered yet. Mandrill asks the
	// URL first, which takes up to two minutes.
	ReasonRegistering = "Registering"
	// ReasonUpdating: Mandrill has been asked to change a webhook, or to delete one that is not needed any more, and has not
	// answered yet. Also a reason of InboundReady, for inbound domains and routes.
	ReasonUpdating = "Updating"
	// ReasonAPIKeySecretNotFound: the Secret of spec.apiKeySecretRef does not exist. Create it.
	ReasonAPIKeySecretNotFound = "APIKeySecretNotFound"
	// ReasonAPIKeyMissing: the Secret does not have the key of spec.apiKeySecretRef, or it is empty. Add it.
	ReasonAPIKeyMissing = "APIKeyMissing"
	// ReasonInvalidAPIKey: Mandrill does not accept the API key, or the value cannot be one. Put a valid one into the Secret.
	ReasonInvalidAPIKey = "InvalidAPIKey"
	// ReasonURLCheckFailed: Mandrill asked the URL and was not answered with 200; the message has Mandrill's words. Check DNS,
	// ingress and certificate of the public URL.
	ReasonURLCheckFailed = "URLCheckFailed"
	// ReasonAdoptionRefused: a webhook that somebody else made is at the object's URL, and spec.adoptionPolicy is Refuse. Delete
	// it in Mandrill, or write Adopt to take it over.
	ReasonAdoptionRefused = "AdoptionRefused"
	// ReasonRefused: Mandrill refuses the webhook for another reason, which the message has in Mandrill's
	// words. Change the spec accordingly.
	ReasonRefused = "Refused"
	// ReasonURLChanged: Mandrill registered another URL than it was given, which the message names. Its batches go there
	// and are signed for it. Write that URL in spec.url.
	ReasonURLChanged = "URLChanged"
	// ReasonStoredDifferently: the webhook is registered, and Mandrill stores the description in another form than the
	// spec has it. Write the description as Mandrill has it, or ignore the difference.
	ReasonStoredDifferently = "StoredDifferently"
	// ReasonContested: somebody else changes the webhook back each time, such as another installation or another cluster with
	// this URL and account. The operator leaves it as it is for a while and tries again by itself. Let only one of them have it.
	// Also a reason of SigningKeyStored, for the Secret.
	ReasonContested = "Contested"
	// ReasonWritesPaused: the operator has changed the webhook at Mandrill too often, and pauses for up to 30 minutes.
	// Something undoes its changes, such as another installation or a program, or the spec changes all the time. Find out
	// which; the operator continues by itself.
	ReasonWritesPaused = "WritesPaused"
)

// Reasons of SigningKeyStored.
const (
	// ReasonSecretConflict: a Secret of the name exists and is not the operator's, or others write to it. Delete or rename
	// it, take out what others wrote, or choose another name in a new MandrillWebhook. Also a reason of ReceiverReady, for
	// the Secret of a Sidecar.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSigningKeyMissing: Mandrill did not return a signing key. Look at the webhook in Mandrill.
	ReasonSigningKeyMissing = "SigningKeyMissing"
)

// Reasons of InboundReady.
const (
	// ReasonMXRecordMissing: mail for a domain, which the message names, does not go to Mandrill yet. Set the MX record that
	// Mandrill's page of inbound domains shows for it.
	ReasonMXRecordMissing = "MXRecordMissing"
	// ReasonInboundRouteConflict: the domain has a route with the same pattern that posts to another URL. Remove that
	// route, or choose another pattern.
	ReasonInboundRouteConflict = "InboundRouteConflict"
)

// Reasons of EventsAccepted.
const (
	// ReasonEventsRefused: Mandrill does not accept some events, which the message names; the others are registered.
	// Take them out of spec.events, or tick them for the webhook in Mandrill's web interface.
	ReasonEventsRefused = "EventsRefused"
	// ReasonEventsAdded: Mandrill sends events that were not asked for. Nothing to do.
	ReasonEventsAdded = "EventsAdded"
)

// Reasons of Delivering.
const (
	// ReasonDelivered: Mandrill's last attempt succeeded, as far as it says.
	ReasonDelivered = "Delivered"
	// ReasonLastAttemptFailed: Mandrill reports an error, which may be over; the message has its words.
	ReasonLastAttemptFailed = "LastAttemptFailed"
	// ReasonDisabled: Mandrill has emptied the webhook's events because too many batches failed, and the operator enables it again
	// after a pause that grows from 1 to 60 minutes. Repair what makes the batches fail: the message has Mandrill's last error.
	// Also shown after somebody else has enabled it, until the operator lists the account again, within --resync-interval.
	ReasonDisabled = "Disabled"
	// ReasonAccountChanged: the API key in the Secret is that of another Mandrill account than before, and that account has not
	// sent anything yet. Nothing to do if mail is sent with that account now: it passes with the first batch. If mail is sent
	// with the earlier account, put its API key back into the Secret.
	ReasonAccountChanged = "AccountChanged"
	// ReasonNothingSentYet: Mandrill has not sent anything yet. Nothing to do.
	ReasonNothingSentYet = "NothingSentYet"
)

// Reasons of Delivered.
const (
	// ReasonSinkFailing: the sink has accepted nothing for a minute or more; the message says how it fails. Repair the sink, or
	// name another in spec.sink. Events wait, or Mandrill keeps them. Also the reason of an Event.
	ReasonSinkFailing = "SinkFailing"
	// ReasonSinkRefusing: the sink refuses the events for good, as with 400, so that they become dead letters. Make it accept
	// them, and redrive the dead letters.
	ReasonSinkRefusing = "SinkRefusing"
	// ReasonCircuitOpen: the sink failed so often that one request at a time asks whether it works again. Repair the
	// sink, or name another in spec.sink.
	ReasonCircuitOpen = "CircuitOpen"
	// ReasonDeadLettering: the sink accepts some events, and others became dead letters within the last minutes. Look at
	// the dead letters, and redrive them when the sink accepts them.
	ReasonDeadLettering = "DeadLettering"
	// ReasonBufferFull: the receiver's buffer is full, so that batches of all webhooks are refused and Mandrill keeps them.
	// Repair the sinks that fail, or make the buffer larger.
	ReasonBufferFull = "BufferFull"
	// ReasonBufferUnavailable: the receiver cannot write to its buffer, so that batches are refused. Look at the
	// receiver's log.
	ReasonBufferUnavailable = "BufferUnavailable"
	// ReasonNothingSent: nothing was sent to the sink yet. Nothing to do.
	ReasonNothingSent = "NothingSent"
	// ReasonNoReports: no receiver reports about the webhook. Check that a receiver runs, with --operator-url, and that it reaches
	// the operator. Events may be delivered all the same. Also a reason of Receiving.
	ReasonNoReports = "NoReports"
)

// Reasons of Receiving.
const (
	// ReasonSilent: nothing was received for longer than spec.expectEvents says, and Mandrill says that it sent nothing. Check
	// that mail is sent, and that Mandrill's account is in order. Also the reason of an Event.
	ReasonSilent = "Silent"
	// ReasonNotArriving: Mandrill says that it sent batches, and no receiver has accepted any. Events are being lost or held
	// up on the way: look at DNS, ingress and the receiver's log. Also the reason of an Event.
	ReasonNotArriving = "NotArriving"
	// ReasonNothingReceived: nothing was received yet, and the time is not over. Nothing to do.
	ReasonNothingReceived = "NothingReceived"
)

// Reasons of AlertSinkReady, besides those of SinkProvided.
const (
	// ReasonAlertsFailing: the alert sink has accepted nothing for a minute or more; the message says how it fails. Repair the
	// alert sink, or name another in spec.alertSink. Alerts are sent again for a day. Also the reason of an Event.
	ReasonAlertsFailing = "AlertsFailing"
)

// Reasons of URLExclusive.
const (
	// ReasonOtherWebhooks: the account has other webhooks at the same URL, which the message names. Delete them in Mandrill.
	// Their batches are accepted, so that events may arrive twice.
	ReasonOtherWebhooks = "OtherWebhooks"
	// ReasonOtherReceiver: the URL leads to the receiver of another installation or cluster, which accepts the webhook's batches:
	// both have the same webhook. Let only one of them have it.
	ReasonOtherReceiver = "OtherReceiver"
)

// Reasons of Kubernetes Events that are not reasons of a condition too.
const (
	// ReasonRegistered: the webhook was created at Mandrill.
	ReasonRegistered = "Registered"
	// ReasonAdopted: a webhook that existed at the URL was taken over. The message says what it had before.
	ReasonAdopted = "Adopted"
	// ReasonPassedOn: the webhook was left to another object with the same URL, as after a rename.
	ReasonPassedOn = "PassedOn"
	// ReasonUpdated: the webhook was changed at Mandrill; the message says why.
	ReasonUpdated = "Updated"
	// ReasonDeleted: the webhook was deleted at Mandrill.
	ReasonDeleted = "Deleted"
	// ReasonRetained: the webhook was left at Mandrill, as spec.deletionPolicy says, or because another installation or cluster
	// has it too.
	ReasonRetained = "Retained"
	// ReasonRecreated: somebody else had deleted the webhook at Mandrill, such as another cluster with this URL, and it was made
	// again. What Mandrill had queued for it is lost.
	ReasonRecreated = "Recreated"
	// ReasonHandedOver: the object is another installation's, by spec.installation; the webhook stays at Mandrill.
	ReasonHandedOver = "HandedOver"
	// ReasonOrphaned: the object is gone and its webhook may still exist at Mandrill. Delete it there.
	ReasonOrphaned = "Orphaned"
	// ReasonInboundChanged: an inbound domain or route was added, changed or deleted at Mandrill; the message says which.
	ReasonInboundChanged = "InboundChanged"
	// ReasonSinkRecovered: the sink accepts events again.
	ReasonSinkRecovered = "SinkRecovered"
	// ReasonDeadLettered: events were given up, and are kept as dead letters. Look at them, repair the sink, redrive.
	ReasonDeadLettered = "DeadLettered"
	// ReasonMessagesLost: stored batches vanished from a receiver's buffer, with a file or a volume. Their events are lost.
	ReasonMessagesLost = "MessagesLost"
	// ReasonWebhookDisabled: Mandrill has disabled the webhook, and the operator enables it again.
	ReasonWebhookDisabled = "WebhookDisabled"
	// ReasonEventsResumed: events arrive again, after Silent or NotArriving.
	ReasonEventsResumed = "EventsResumed"
	// ReasonSigningKeyChanged: Mandrill signs with another key, and the Secret now has it.
	ReasonSigningKeyChanged = "SigningKeyChanged"
)
