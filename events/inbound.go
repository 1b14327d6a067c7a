package events

import "encoding/base64"

// Inbound is the data of [TypeInbound]: mail arrived at an inbound route. It has no id: use the header Message-Id.
type Inbound struct {
	// Event is always inbound. Documented, seen since 2013.
	Event string `json:"event"`
	// TS is when the mail arrived, in seconds since 1970. Absent or null: unknown. Documented, seen since 2013.
	TS Timestamp `json:"ts,omitzero"`
	// Message is the mail. Documented, seen since 2013.
	Message InboundMessage `json:"msg"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// InboundMessage is mail that arrived. raw_msg is the reliable source: what was made of it depends on Mandrill's parser.
type InboundMessage struct {
	// RawMessage is the whole MIME message, with lines that end with \n. How Mandrill writes bytes that are not UTF-8 is not known.
	// Documented, seen since 2013.
	RawMessage string `json:"raw_msg,omitempty"`
	// Headers by name. A header that is there once is a string, one that repeats is a list; [] when there are none. Names are written like
	// Message-Id. Documented, seen since 2013.
	Headers Headers `json:"headers"`
	// Text is the part that is plain text. Absent: there is none. Documented, seen since 2013.
	Text string `json:"text,omitempty"`
	// TextFlowed says whether the text has soft line breaks (RFC 3676). Seen since 2013.
	TextFlowed bool `json:"text_flowed"`
	// HTML is the part that is HTML. Absent: there is none. Documented, seen since 2013.
	HTML string `json:"html,omitempty"`
	// FromEmail is the address in the From header. Documented, seen since 2013.
	FromEmail string `json:"from_email,omitempty"`
	// FromName is the name in the From header, as it is written there, with spaces at its end. Absent or null: none. Documented, seen
	// since 2013.
	FromName string `json:"from_name,omitempty"`
	// To are the addresses in the To header: pairs of address and name, which is null if there is none. Documented, seen since 2013.
	To []Address `json:"to"`
	// CC are the addresses in the Cc header, as those in to. Absent or []: none. Seen since 2013.
	CC []Address `json:"cc"`
	// Email is the address that received the mail: that of the envelope. Documented, seen since 2013.
	Email string `json:"email,omitempty"`
	// Subject of the mail. Documented, seen since 2013.
	Subject string `json:"subject,omitempty"`
	// Tags are always []. Documented, seen since 2013.
	Tags []string `json:"tags"`
	// Sender is always null. Documented, seen since 2013.
	Sender string `json:"sender,omitempty"`
	// Template is always null. Seen since 2013.
	Template string `json:"template,omitempty"`
	// Attachments by file name. Absent or []: none. Documentation calls it an array, which is read as well. Two parts with one name may be
	// one here: raw_msg has both. Documented, seen since 2013.
	Attachments map[string]Attachment `json:"attachments"`
	// Images are the parts that are images in the text, by file name. Otherwise as attachments. Documented, seen since 2013.
	Images map[string]Image `json:"images"`
	// SpamReport is what SpamAssassin says. Absent, null or []: nothing. Documented, seen since 2013.
	SpamReport *SpamReport `json:"spam_report,omitempty"`
	// SPF is whether the sending server may send for its domain. Absent, null or []: not checked. Documented, seen since 2013.
	SPF *SPF `json:"spf,omitempty"`
	// DKIM is whether the mail is signed. Absent, null or []: not checked. Documented, seen since 2013.
	DKIM *DKIM `json:"dkim,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// Attachment is a part of a mail.
type Attachment struct {
	// Name is the file name. Documented, seen since 2013.
	Name string `json:"name,omitempty"`
	// Type is the MIME type. Documented, seen since 2013.
	Type string `json:"type,omitempty"`
	// Content is the text, or the base64 encoding if base64 is true. Documented, seen since 2013.
	Content string `json:"content,omitempty"`
	// Base64 says whether the content is encoded. Absent: not known; take it for text. Documented, seen since 2013.
	Base64 *bool `json:"base64,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// Bytes returns the content, decoded if Base64 says that it is encoded.
func (a Attachment) Bytes() ([]byte, error) {
	if a.Base64 == nil || !*a.Base64 {
		return []byte(a.Content), nil
	}
	return base64.StdEncoding.DecodeString(a.Content)
}

// Image is an image in the text of a mail.
type Image struct {
	// Name is the file name. Documented, seen since 2013.
	Name string `json:"name,omitempty"`
	// Type is the MIME type. Documented, seen since 2013.
	Type string `json:"type,omitempty"`
	// Content is the base64 encoding of the image: always, although there is no field that says so. Documented, seen since 2013.
	Content string `json:"content,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// Bytes returns the content, decoded.
func (i Image) Bytes() ([]byte, error) { return base64.StdEncoding.DecodeString(i.Content) }

// SpamReport is what SpamAssassin says about a mail.
type SpamReport struct {
	// Score is the sum of the rules; more is more like spam. Documented, seen since 2013.
	Score float64 `json:"score"`
	// MatchedRules are the rules that matched. Documented, seen since 2013.
	MatchedRules []SpamRule `json:"matched_rules"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// SpamRule is a rule of SpamAssassin. Lines that it wraps become rules of their own, with parts of a description as the name.
type SpamRule struct {
	// Name of the rule. May be null. Documented, seen since 2013.
	Name string `json:"name,omitempty"`
	// Score of the rule, which is below zero for a rule that speaks against spam. Documented, seen since 2013.
	Score float64 `json:"score"`
	// Description of the rule. May be null. Documented, seen since 2013.
	Description string `json:"description,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// SPF is the outcome of a check (RFC 7208).
type SPF struct {
	// Result is one of pass, neutral, fail, softfail, temperror, permerror or none. Documented, seen since 2013.
	Result string `json:"result,omitempty"`
	// Detail is the result in words. Documented, seen since 2013.
	Detail string `json:"detail,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// DKIM is the outcome of a check (RFC 6376).
type DKIM struct {
	// Signed says whether the mail has a signature. Documented, seen since 2013.
	Signed bool `json:"signed"`
	// Valid says whether the signature is good. Documented, seen since 2013.
	Valid bool `json:"valid"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}
