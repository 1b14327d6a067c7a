package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A field that the operator does not support yet is refused by a rule below, never silently ignored. Delete the rule when
// the operator supports the field.

// MandrillWebhook is a webhook at Mandrill (Mailchimp Transactional) and the sink its events go to.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mwh,categories={all,knative,sources}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Delivered",type=string,JSONPath=`.status.conditions[?(@.type=="Delivered")].status`
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.delivery.waitingEvents`
// +kubebuilder:printcolumn:name="Last event",type=date,JSONPath=`.status.delivery.lastReceivedAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Dead letters",type=integer,JSONPath=`.status.delivery.deadLetters`,priority=1
// +kubebuilder:printcolumn:name="Last sent",type=date,JSONPath=`.status.upstream.lastSentAt`,priority=1
// +kubebuilder:printcolumn:name="Events",type=string,JSONPath=`.status.events`,priority=1
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`,priority=1
// +kubebuilder:printcolumn:name="Sink",type=string,JSONPath=`.status.sinkUri`,priority=1
// +kubebuilder:metadata:labels="duck.knative.dev/source=true"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="the name is too long: use at most 63 characters, because the names of Secrets are made from it"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.receiver) || self.spec.receiver != 'Sidecar' || !has(self.spec.signingKeySecretName) || self.spec.signingKeySecretName != self.metadata.name + '-receiver'",message="signingKeySecretName is the name of the Secret that the Sidecar's routes go to: choose another"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.signingKeySecretName) ? self.spec.signingKeySecretName : self.metadata.name + '-signing-key') != self.spec.apiKeySecretRef.name",message="apiKeySecretRef names the Secret that the operator writes the signing key to: name a Secret of your own"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.urlSecretRef) || (has(self.spec.signingKeySecretName) ? self.spec.signingKeySecretName : self.metadata.name + '-signing-key') != self.spec.urlSecretRef.name",message="urlSecretRef names the Secret that the operator writes the signing key to: name a Secret of your own"
type MandrillWebhook struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec MandrillWebhookSpec `json:"spec"`
	// With this default kstatus reports a new object as in progress.
	//
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status MandrillWebhookStatus `json:"status,omitempty"`
}

// MandrillWebhookList is a list of MandrillWebhooks.
//
// +kubebuilder:object:root=true
type MandrillWebhookList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MandrillWebhook `json:"items"`
}

// MandrillWebhookSpec is what the user wants.
//
// +kubebuilder:validation:XValidation:rule="has(self.signingKeySecretName) == has(oldSelf.signingKeySecretName) && (!has(self.signingKeySecretName) || self.signingKeySecretName == oldSelf.signingKeySecretName)",message="signingKeySecretName cannot be changed, because programs that read the Secret know it by its name: create a new MandrillWebhook instead"
// +kubebuilder:validation:XValidation:rule="!(has(self.url) && has(self.urlSecretRef) && (self.url.contains('?' + self.urlSecretRef.parameter + '=') || self.url.contains('&' + self.urlSecretRef.parameter + '=')))",message="url already has the parameter that urlSecretRef sets: take it out of the URL"
// +kubebuilder:validation:XValidation:rule="!has(self.receiver) || self.receiver != 'Sidecar' || has(self.url)",message="a Sidecar answers at a URL of its own: set url"
// +kubebuilder:validation:XValidation:rule="(has(self.receiver) ? self.receiver : 'Shared') == (has(oldSelf.receiver) ? oldSelf.receiver : 'Shared')",message="receiver cannot be changed, because what Mandrill sends again would reach one that does not know it: create a new MandrillWebhook instead"
// +kubebuilder:validation:XValidation:rule="!has(self.sink.audience) || has(self.receiver) && self.receiver == 'Sidecar'",message="sink.audience is for a Sidecar, whose pod has tokens of its own: leave it out; for the Shared receiver the audience is the one that sink.ref publishes"
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || !has(self.delivery.deadLetterSink) || !has(self.delivery.deadLetterSink.audience) || has(self.receiver) && self.receiver == 'Sidecar'",message="delivery.deadLetterSink.audience is for a Sidecar, whose pod has tokens of its own: leave it out; for the Shared receiver the audience is the one that deadLetterSink.ref publishes"
// +kubebuilder:validation:XValidation:rule="!has(self.alertSink) || !has(self.alertSink.audience)",message="alertSink.audience is not supported, because the operator has no OIDC tokens: leave it out"
type MandrillWebhookSpec struct {
	// Installation is the name of the installation that handles the object, as its operator's --installation says. Default: the
	// installation without a name. An object of an installation that does not exist is left alone. When it changes, the
	// webhook stays at Mandrill, and the other installation takes it over.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="installation is the name of an installation: write lower case letters, digits and -, such as blue, or leave it out"
	Installation string `json:"installation,omitempty"`

	// URL is the public URL that Mandrill posts to, exactly as it is registered and signed: nothing in it is
	// normalised. It may have userinfo (https://user:password@host/path), which requests must then send and which is
	// hidden in the status. Default: the installation's public URL followed by /<namespace>/<name>.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#]+([/?][^#]*)?$') && isURL(self)",message="url must be absolute and without a fragment: write https://host/path (http is accepted)"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="url has a space, a control character or a letter outside of ASCII: percent-encode it, or take it out"
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([^/?#]*@)?([^/?#@:*[]+|[[][^/?#@*]+[]])(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[0-5]?[0-9]{1,4}))?([/?]|$)')",message="url needs one host, and a port up to 65535 if it has one: write https://host/path"
	URL string `json:"url,omitempty"`

	// URLSecretRef names a Secret whose value becomes a query parameter of the URL: of the one that Mandrill registers and
	// of the one that the receiver accepts, and nowhere else. When the Secret changes, both change, and the URL with the
	// earlier value is accepted for another 24 hours.
	//
	// The Secret must allow this by the annotation mandrill-operator.io/allow-url-secret: "true", because the URL may lead
	// anywhere.
	//
	// +optional
	URLSecretRef *URLSecretRef `json:"urlSecretRef,omitempty"`

	// Description is shown in Mandrill's list of webhooks.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// Events are the events to be sent: send, deferral, hard_bounce, soft_bounce, delivered, open, click, spam,
	// unsub, reject, allowlist, denylist, or any that Mandrill may add.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() > 0",message="events must name at least one event, because Mandrill takes an empty list for a disabled webhook: to pause delivery set suspend"
	// +kubebuilder:validation:XValidation:rule="self.all(e, self.exists_one(o, o == e))",message="events names an event twice: list each event once"
	Events []EventName `json:"events"`

	// APIKeySecretRef names the Secret, in the same namespace, that holds the account's API key. The key is sent to Mandrill's
	// API only.
	//
	// +required
	APIKeySecretRef SecretKeyRef `json:"apiKeySecretRef"`

	// SigningKeySecretName is the Secret, in the same namespace, that the operator creates and keeps current: it has the
	// key that Mandrill signs with under "signing-key" and the registered URL under "url". It cannot be changed.
	// Default: <name>-signing-key.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="signingKeySecretName must be the name of a Secret: lower case letters, digits, - and ."
	SigningKeySecretName string `json:"signingKeySecretName,omitempty"`

	// Inbound are inbound routes that post mail to the same URL. Mandrill signs them with the webhook's key, so there is
	// no inbound without events. Routes of the domains that post elsewhere are left alone.
	//
	// +optional
	Inbound *Inbound `json:"inbound,omitempty"`

	// Sink is where the CloudEvents go.
	//
	// +required
	Sink Destination `json:"sink"`

	// CloudEventOverrides changes the CloudEvents before they are sent.
	//
	// +optional
	CloudEventOverrides *CloudEventOverrides `json:"ceOverrides,omitempty"`

	// Delivery says how CloudEvents are sent to the sink.
	//
	// +optional
	Delivery *Delivery `json:"delivery,omitempty"`

	// ExpectEvents says that events are expected, so that their absence is reported.
	//
	// +optional
	ExpectEvents *ExpectEvents `json:"expectEvents,omitempty"`

	// AlertSink is where the operator sends CloudEvents about the webhook: when its sink fails and recovers, when events become
	// dead letters, when Mandrill disables the webhook, and when events do not arrive. What holds for the address of a sink of the
	// Shared receiver holds for it too. Name another sink than the one that the alerts are about.
	//
	// +optional
	AlertSink *Destination `json:"alertSink,omitempty"`

	// Receiver says which receiver answers at the URL: the installation's Shared receiver, or a Sidecar of the consumer, which
	// reads its routes from the Secret <name>-receiver, key routes.yaml, that the operator writes beside the object. It
	// cannot be changed.
	//
	// +optional
	// +kubebuilder:default=Shared
	Receiver ReceiverKind `json:"receiver,omitempty"`

	// AdoptionPolicy says what happens if Mandrill has a webhook at the URL that no object of this cluster made: Adopt takes it
	// over, so that its events and description become those of the spec and it is deleted with this object; Refuse leaves it
	// alone, and this object is stalled. A webhook that another object hands over, or that is known to be this object's after a
	// restore, is taken over in any case.
	//
	// +optional
	// +kubebuilder:default=Adopt
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`

	// DeletionPolicy says what happens to the webhook at Mandrill when this object is deleted: Delete deletes it, also one that
	// was taken over, Retain leaves it. If another object has the same URL and account, as after a rename, that one takes it over.
	//
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Suspend makes the receiver refuse batches with 503, so that Mandrill keeps them and tries again for some
	// hours. Batches that Mandrill gives up in that time are lost. Events that were accepted before, in Buffered mode, wait
	// until suspend is false again.
	//
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// EventName is the name of an event that Mandrill can send.
//
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9_]*$')",message="an event is named in lower case letters, digits and underscores, such as hard_bounce",messageExpression="'an event is named in lower case letters, digits and underscores, such as hard_bounce' + (self.lowerAscii().replace('-', '_').replace(' ', '_') in ['send', 'deferral', 'hard_bounce', 'soft_bounce', 'delivered', 'open', 'click', 'spam', 'unsub', 'reject', 'allowlist', 'denylist'] ? ': write ' + self.lowerAscii().replace('-', '_').replace(' ', '_') + ' instead of ' + self : ': ' + self + ' is not')"
// +kubebuilder:validation:XValidation:rule="self != 'whitelist' && self != 'blacklist'",message="write allowlist instead of whitelist, and denylist instead of blacklist"
// +kubebuilder:validation:XValidation:rule="!(self in ['bounce', 'bounces', 'bounced', 'hardbounce', 'hard_bounces', 'hard_bounced', 'softbounce', 'soft_bounces', 'soft_bounced', 'opens', 'opened', 'clicks', 'clicked', 'sent', 'sends', 'deliver', 'delivers', 'delivery', 'defer', 'deferred', 'deferrals', 'rejects', 'rejected', 'unsubs', 'unsubscribe', 'unsubscribed', 'complaint', 'spam_complaint', 'spam_report', 'safelist', 'blocklist'])",message="Mandrill has no event of this name",messageExpression="'Mandrill has no event ' + self + ': did you mean ' + {'bounce': 'hard_bounce or soft_bounce', 'bounces': 'hard_bounce or soft_bounce', 'bounced': 'hard_bounce or soft_bounce', 'hardbounce': 'hard_bounce', 'hard_bounces': 'hard_bounce', 'hard_bounced': 'hard_bounce', 'softbounce': 'soft_bounce', 'soft_bounces': 'soft_bounce', 'soft_bounced': 'soft_bounce', 'opens': 'open', 'opened': 'open', 'clicks': 'click', 'clicked': 'click', 'sent': 'send', 'sends': 'send', 'deliver': 'delivered', 'delivers': 'delivered', 'delivery': 'delivered', 'defer': 'deferral', 'deferred': 'deferral', 'deferrals': 'deferral', 'rejects': 'reject', 'rejected': 'reject', 'unsubs': 'unsub', 'unsubscribe': 'unsub', 'unsubscribed': 'unsub', 'complaint': 'spam', 'spam_complaint': 'spam', 'spam_report': 'spam', 'safelist': 'allowlist', 'blocklist': 'denylist'}[self] + '?'"
// +kubebuilder:validation:XValidation:rule="self != 'inbound'",message="inbound is no event of a webhook: leave it out, and set spec.inbound.routes for inbound mail"
type EventName string

// SecretKeyRef names a key of a Secret in the same namespace.
type SecretKeyRef struct {
	// Name of the Secret.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the Secret's data.
	//
	// +optional
	// +kubebuilder:default=api-key
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// AnnotationAllowURLSecret is the annotation by which a Secret allows spec.urlSecretRef to put a value of it into a URL.
const AnnotationAllowURLSecret = "mandrill-operator.io/allow-url-secret"

// URLSecretRef names a key of a Secret in the same namespace and the query parameter its value goes to.
type URLSecretRef struct {
	// Name of the Secret.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the Secret's data.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
	// Parameter of the URL's query.
	//
	// +optional
	// +kubebuilder:default=secret
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	Parameter string `json:"parameter,omitempty"`
}

// Inbound are inbound routes.
type Inbound struct {
	// Routes of mail to the webhook's URL. A domain that Mandrill does not have yet is added there, and stays when its
	// routes are removed.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() > 0",message="inbound.routes must have a route: leave inbound out for none"
	// +kubebuilder:validation:XValidation:rule="self.all(r, self.exists_one(o, o.domain == r.domain && o.pattern == r.pattern))",message="inbound.routes names a pattern of a domain twice: list each once"
	Routes []InboundRoute `json:"routes"`
}

// InboundRoute sends mail for matching addresses to the webhook's URL.
type InboundRoute struct {
	// Domain that receives mail at Mandrill, in lower case.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue() && self.contains('.')",message="domain must be a domain name in lower case, such as in.example.com"
	Domain string `json:"domain"`
	// Pattern of the part of an address before the @; * stands for anything.
	//
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^@[:space:][:cntrl:]]+$')",message="pattern is what stands before the @ of an address, without spaces: write * for every address of the domain, or a part such as help-*"
	Pattern string `json:"pattern"`
}

// ReceiverKind says which receiver answers at a webhook's URL.
//
// +kubebuilder:validation:Enum=Shared;Sidecar
type ReceiverKind string

// The kinds of receiver.
const (
	ReceiverShared  ReceiverKind = "Shared"
	ReceiverSidecar ReceiverKind = "Sidecar"
)

// MandrillWebhookStatus is what the operator observed and did.
type MandrillWebhookStatus struct {
	// ObservedGeneration is the generation of the spec that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready sums up SinkProvided, ReceiverReady, Registered, SigningKeyStored and, with spec.inbound,
	// InboundReady. EventsAccepted says whether Mandrill accepted all events, Delivering is Mandrill's own view of its
	// deliveries, Delivered is whether the sink accepts the events, Receiving, with spec.expectEvents, whether events come,
	// URLExclusive whether nothing else posts to the URL, AlertSinkReady, with spec.alertSink, whether alerts arrive; they do not count
	// for Ready. Reconciling and Stalled are those of kstatus.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// URL as registered, with its userinfo and the parameter of spec.urlSecretRef hidden.
	//
	// +optional
	URL string `json:"url,omitempty"`
	// WebhookID is the ID of the webhook at Mandrill.
	//
	// +optional
	WebhookID int64 `json:"webhookID,omitempty"`
	// APIKeyFingerprint is a salted hash of the API key that the webhook was last seen with. With another key the account
	// may be another one, in which the same ID is another webhook.
	//
	// +optional
	APIKeyFingerprint string `json:"apiKeyFingerprint,omitempty"`
	// PendingRegistrations are calls of webhooks/add, and of webhooks/update with another URL, whose outcome is not known yet. A
	// webhook that one of them made or moved is the object's.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	PendingRegistrations []PendingRegistration `json:"pendingRegistrations,omitempty"`
	// Events as Mandrill has them, under their current names.
	//
	// +optional
	// +listType=atomic
	Events []string `json:"events,omitempty"`
	// SinkURI is the address of the sink.
	//
	// +optional
	SinkURI string `json:"sinkUri,omitempty"`
	// SinkCACerts are the certificates, PEM, that the sink's TLS certificate is verified with.
	//
	// +optional
	SinkCACerts string `json:"sinkCACerts,omitempty"`
	// SinkAudience is the OIDC audience of the sink.
	//
	// +optional
	SinkAudience string `json:"sinkAudience,omitempty"`
	// CloudEventAttributes are the types and source of the CloudEvents.
	//
	// +optional
	// +listType=atomic
	CloudEventAttributes []CloudEventAttributes `json:"ceAttributes,omitempty"`
	// SigningKeySecretName is the Secret that holds the signing key.
	//
	// +optional
	SigningKeySecretName string `json:"signingKeySecretName,omitempty"`
	// InboundRoutes are the inbound routes at Mandrill.
	//
	// +optional
	// +listType=atomic
	InboundRoutes []InboundRouteStatus `json:"inboundRoutes,omitempty"`
	// Upstream is what Mandrill reports about the webhook.
	//
	// +optional
	Upstream *Upstream `json:"upstream,omitempty"`
	// Delivery is what the receivers report about the webhook. It is written when it says something new: a count or a time
	// that changes all the time is up to some minutes old.
	//
	// +optional
	Delivery *DeliveryStatus `json:"delivery,omitempty"`
}
