package events

// MessageEvent has the fields that all events of messages have.
type MessageEvent struct {
	// Event is the name of the event. Always present. Documented, seen since 2012.
	Event string `json:"event"`
	// ID is Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits.
	// Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013.
	ID string `json:"_id,omitempty"`
	// TS is when the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012.
	TS Timestamp `json:"ts,omitzero"`
	// Message is the message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than
	// 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012.
	Message Message `json:"msg"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// Send is the data of [TypeSend]: Mandrill accepted the message and tries to deliver it.
type Send struct{ MessageEvent }

// Delivered is the data of [TypeDelivered]: the recipient's server accepted the message.
type Delivered struct{ MessageEvent }

// Deferral is the data of [TypeDeferral]: the recipient's server asked to try later, and Mandrill will.
type Deferral struct{ MessageEvent }

// HardBounce is the data of [TypeHardBounce]: the message cannot be delivered, and Mandrill adds the address to the denylist.
type HardBounce struct{ MessageEvent }

// SoftBounce is the data of [TypeSoftBounce]: the message was not delivered, and Mandrill has stopped trying.
type SoftBounce struct{ MessageEvent }

// Open is the data of [TypeOpen]: the recipient, or a program of theirs, loaded the images of the message.
type Open struct {
	MessageEvent
	Visit
}

// Click is the data of [TypeClick]: the recipient, or a program of theirs, followed a link.
type Click struct {
	MessageEvent
	Visit
	// URL is the link, as it was written in the message. Documented, seen since 2013.
	URL string `json:"url,omitempty"`
}

// Spam is the data of [TypeSpam]: the recipient reported the message as spam.
type Spam struct{ MessageEvent }

// Unsub is the data of [TypeUnsub]: the recipient unsubscribed.
type Unsub struct{ MessageEvent }

// Reject is the data of [TypeReject]: Mandrill refused to send the message; msg.reject says why.
type Reject struct{ MessageEvent }

// OtherMessage is the data of an event of a message that has no type of its own here, because Mandrill added it later.
type OtherMessage struct{ MessageEvent }

// Visit has what an open and a click say about the visitor. Proxies of mail providers load images and check links too.
type Visit struct {
	// IP is the address of the visitor, IPv4 or IPv6. Absent or null: unknown. Documented, seen since 2013.
	IP string `json:"ip,omitempty"`
	// Location is where that address is, roughly. Absent, null or []: unknown. Documented, seen since 2013.
	Location *Location `json:"location,omitempty"`
	// UserAgent is the User-Agent header of the visitor. Absent or null: unknown. Documented, seen since 2013.
	UserAgent string `json:"user_agent,omitempty"`
	// UserAgentParsed is what Mandrill made of it. Absent, null or []: nothing. Documented, seen since 2013.
	UserAgentParsed *UserAgent `json:"user_agent_parsed,omitempty"`
}

// Location is a place. For private addresses texts are "-", and coordinates are the text "INVALID IP ADDRESS".
type Location struct {
	// CountryShort is the ISO 3166 code of the country. Documented, seen since 2013.
	CountryShort string `json:"country_short,omitempty"`
	// Country is its English name. Documentation calls it country_long. Seen since 2013.
	Country string `json:"country,omitempty" alias:"country_long"`
	// Region is the name of the state or province. Documented, seen since 2013.
	Region string `json:"region,omitempty"`
	// City is its name. Documented, seen since 2013.
	City string `json:"city,omitempty"`
	// Latitude in degrees. Absent in the normal form when it is not a number. Documented, seen since 2013.
	Latitude *float64 `json:"latitude,omitempty"`
	// Longitude in degrees. Absent in the normal form when it is not a number. Documented, seen since 2013.
	Longitude *float64 `json:"longitude,omitempty"`
	// PostalCode is that of the place. Documented, seen since 2013.
	PostalCode string `json:"postal_code,omitempty"`
	// Timezone is the offset from UTC, such as -05:00. Documented, seen since 2013.
	Timezone string `json:"timezone,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// UserAgent is a program and its operating system.
type UserAgent struct {
	// Type is the kind of program, such as Email Client or Browser. Null: unknown. Documented, seen since 2013.
	Type string `json:"type,omitempty"`
	// UAFamily is the program. Null: unknown. Documented, seen since 2013.
	UAFamily string `json:"ua_family,omitempty"`
	// UAName is the program with its version. Null: unknown. Documented, seen since 2013.
	UAName string `json:"ua_name,omitempty"`
	// UAVersion is its version. Null: unknown. Documented, seen since 2013.
	UAVersion string `json:"ua_version,omitempty"`
	// UAURL is the program's web site. Null: unknown. Documented, seen since 2013.
	UAURL string `json:"ua_url,omitempty"`
	// UACompany is the company that makes the program. Null: unknown. Documented, seen since 2013.
	UACompany string `json:"ua_company,omitempty"`
	// UACompanyURL is the company's web site. Null: unknown. Documented, seen since 2013.
	UACompanyURL string `json:"ua_company_url,omitempty"`
	// UAIcon is the URL of the program's icon. Null: unknown. Documented, seen since 2013.
	UAIcon string `json:"ua_icon,omitempty"`
	// OSFamily is the operating system. Null: unknown. Documented, seen since 2013.
	OSFamily string `json:"os_family,omitempty"`
	// OSName is the operating system with its version. Null: unknown. Documented, seen since 2013.
	OSName string `json:"os_name,omitempty"`
	// OSURL is its web site. Null: unknown. Documented, seen since 2013.
	OSURL string `json:"os_url,omitempty"`
	// OSCompany is the company that makes the operating system. Null: unknown. Documented, seen since 2013.
	OSCompany string `json:"os_company,omitempty"`
	// OSCompanyURL is the company's web site. Null: unknown. Documented, seen since 2013.
	OSCompanyURL string `json:"os_company_url,omitempty"`
	// OSIcon is the URL of the system's icon. Null: unknown. Documented, seen since 2013.
	OSIcon string `json:"os_icon,omitempty"`
	// Mobile says whether it is a mobile device. Documented, seen since 2013.
	Mobile bool `json:"mobile"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}
