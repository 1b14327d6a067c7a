package events

// Message is a message and its history until the event. The events that "Send test" makes at Mandrill have fewer fields.
type Message struct {
	// ID is Mandrill's id of the message. Documented, seen since 2012.
	ID string `json:"_id,omitempty"`
	// TS is when the message was sent, in seconds since 1970. Null in some opens. Documented, seen since 2012.
	TS Timestamp `json:"ts,omitzero"`
	// Version of the record at Mandrill: opaque, a string or a number. Absent in most events. Seen since 2012.
	Version string `json:"_version,omitempty"`
	// Subject of the message. Documented, seen since 2012.
	Subject string `json:"subject,omitempty"`
	// Email is the address of the recipient. Absent: Mandrill does not have the message. Documented, seen since 2012.
	Email string `json:"email,omitempty"`
	// Sender is the address that the message was sent from. Documented, seen since 2012.
	Sender string `json:"sender,omitempty"`
	// Tags that the message was sent with. Documented, seen since 2012.
	Tags []string `json:"tags"`
	// Metadata that the message was sent with: names and values, which are strings or numbers. [] when there are none. Documented, seen
	// since 2012.
	Metadata Metadata `json:"metadata"`
	// State of the message: sent, rejected, spam, unsub, bounced, soft-bounced, deferred, or another that Mandrill may add. Documented,
	// seen since 2012.
	State string `json:"state,omitempty"`
	// Opens are the opens so far. Absent from bounces that "Send test" makes. Documented, seen since 2012.
	Opens []MessageOpen `json:"opens"`
	// Clicks are the clicks so far. Absent from bounces that "Send test" makes. Documented, seen since 2012.
	Clicks []MessageClick `json:"clicks"`
	// SMTPEvents are what recipients' servers answered so far. Absent from what "Send test" makes of send. Documented, seen since 2015.
	SMTPEvents []SMTPEvent `json:"smtp_events"`
	// Resends of the message. The form of their elements is not documented, and none was seen. Seen since 2015.
	Resends List `json:"resends"`
	// Subaccount that the message was sent with, by its id. Absent or null: none. Documented, seen since 2015.
	Subaccount string `json:"subaccount,omitempty"`
	// Template that the message was sent with, by its slug. Absent or null: none. Documented, seen since 2015.
	Template string `json:"template,omitempty"`
	// Diag is what the recipient's server answered, in a bounce; often it begins with smtp;. Absent or null: no answer. Documented, seen
	// since 2012.
	Diag string `json:"diag,omitempty"`
	// BounceDescription is Mandrill's class of a bounce, such as bad_mailbox, invalid_domain or mailbox_full. Absent: no bounce.
	// Documented, seen since 2012.
	BounceDescription string `json:"bounce_description,omitempty"`
	// BgtoolsCode is the number of that class: 10 with bad_mailbox, 22 with mailbox_full. Absent: no bounce. Seen since 2012.
	BgtoolsCode int64 `json:"bgtools_code,omitempty"`
	// Reject says why Mandrill refused to send the message. Absent, null or []: it did not. May be the reason alone. Documented, seen
	// since 2015.
	Reject *Rejection `json:"reject,omitempty" or:"text"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// MessageOpen is an open in the history of a message.
type MessageOpen struct {
	// TS is when it was opened, in seconds since 1970. Documented, seen since 2012.
	TS Timestamp `json:"ts,omitzero"`
	// IP is the address of the visitor. Absent from what "Send test" makes. Documented, seen since 2013.
	IP string `json:"ip,omitempty"`
	// Location is the place of that address as text, such as Lisbon, PT. Absent or null: unknown. Documented, seen since 2013.
	Location string `json:"location,omitempty"`
	// UA is the program as text, such as Linux/Thunderbird. Absent or null: unknown. Documented, seen since 2013.
	UA string `json:"ua,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// MessageClick is a click in the history of a message.
type MessageClick struct {
	// TS is when the link was followed, in seconds since 1970. Documented, seen since 2012.
	TS Timestamp `json:"ts,omitzero"`
	// URL is the link. Documented, seen since 2012.
	URL string `json:"url,omitempty"`
	// IP is the address of the visitor. Absent from what "Send test" makes. Documented, seen since 2013.
	IP string `json:"ip,omitempty"`
	// Location is the place of that address as text, such as Lisbon, PT. Absent or null: unknown. Documented, seen since 2013.
	Location string `json:"location,omitempty"`
	// UA is the program as text, such as Linux/Thunderbird. Absent or null: unknown. Documented, seen since 2013.
	UA string `json:"ua,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// SMTPEvent is an answer of a recipient's server.
type SMTPEvent struct {
	// TS is when it answered, in seconds since 1970. Documented, seen since 2015.
	TS Timestamp `json:"ts,omitzero"`
	// Type is what became of the attempt: sent, deferred, bounced, rejected or delivered. Documented, seen since 2015.
	Type string `json:"type,omitempty"`
	// Diag is the answer. Documented, seen since 2015.
	Diag string `json:"diag,omitempty"`
	// SourceIP is the address that Mandrill sent from. Documented, seen since 2015.
	SourceIP string `json:"source_ip,omitempty"`
	// DestinationIP is the address of the server. May be an empty string. Documented, seen since 2015.
	DestinationIP string `json:"destination_ip,omitempty"`
	// Size of the message in bytes. Documented, seen since 2015.
	Size int64 `json:"size,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// Rejection says why Mandrill refused to send a message.
type Rejection struct {
	// Reason is one of hard-bounce, soft-bounce, spam, unsub, custom, invalid-sender, invalid, test-mode-limit, unsigned or rule. Documented,
	// seen since 2015.
	Reason string `json:"reason,omitempty"`
	// LastEventAt is when the address was put on the denylist, or last refused. Documented.
	LastEventAt Date `json:"last_event_at,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}
