package events

// AllowlistEvent has the fields that changes of the allowlist have.
type AllowlistEvent struct {
	// List is allowlist in the normal form. Mandrill sends whitelist; documentation called it safelist, and calls it allowlist. Documented, seen since 2015.
	List string `json:"type"`
	// Action is what happened to the entry. Always present. Documented, seen since 2015.
	Action string `json:"action"`
	// TS is when it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015.
	TS Timestamp `json:"ts,omitzero"`
	// Entry is what was added or removed. Documentation calls it reject. Seen since 2015.
	Entry AllowlistEntry `json:"entry" alias:"reject"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// AllowlistAdd is the data of [TypeAllowlistAdd]: an address was added to the allowlist.
type AllowlistAdd struct{ AllowlistEvent }

// AllowlistRemove is the data of [TypeAllowlistRemove]: an address was removed from the allowlist.
type AllowlistRemove struct{ AllowlistEvent }

// AllowlistEntry is an address that Mandrill sends to even if it bounced before.
type AllowlistEntry struct {
	// Email is the address. Documented, seen since 2015.
	Email string `json:"email,omitempty"`
	// Detail is a note. Absent or null: none. Documented, seen since 2015.
	Detail string `json:"detail,omitempty"`
	// CreatedAt is when the entry was made. Documented, seen since 2015.
	CreatedAt Date `json:"created_at,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// DenylistEvent has the fields that changes of the denylist have.
type DenylistEvent struct {
	// List is denylist in the normal form. Mandrill sends blacklist; documentation calls it denylist. Documented, seen since 2015.
	List string `json:"type"`
	// Action is what happened to the entry. Always present. Documented, seen since 2015.
	Action string `json:"action"`
	// TS is when it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015.
	TS Timestamp `json:"ts,omitzero"`
	// Entry is what was added, changed or removed. The allowlist's is called entry. Documented, seen
	// since 2015.
	Entry DenylistEntry `json:"reject" alias:"entry"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// DenylistAdd is the data of [TypeDenylistAdd]: an address was added to the denylist.
type DenylistAdd struct{ DenylistEvent }

// DenylistChange is the data of [TypeDenylistChange]: an entry of the denylist changed.
type DenylistChange struct{ DenylistEvent }

// DenylistRemove is the data of [TypeDenylistRemove]: an address was removed from the denylist.
type DenylistRemove struct{ DenylistEvent }

// OtherListEvent is the data of a change of a list that has no type of its own here, because Mandrill added it later. List is
// allowlist or denylist.
type OtherListEvent struct{ DenylistEvent }

// DenylistEntry is an address that Mandrill does not send to.
type DenylistEntry struct {
	// Email is the address. Documented, seen since 2015.
	Email string `json:"email,omitempty"`
	// Reason is one of hard-bounce, soft-bounce, spam, unsub, custom, or another that Mandrill may add. Documented, seen since 2015.
	Reason string `json:"reason,omitempty"`
	// Detail is what the recipient's server answered, or a note. Absent or null: none. Documented, seen since 2015.
	Detail string `json:"detail,omitempty"`
	// CreatedAt is when the entry was made. Documented, seen since 2015.
	CreatedAt Date `json:"created_at,omitempty"`
	// LastEventAt is when a message to the address was last refused or bounced. Documented, seen since 2015.
	LastEventAt Date `json:"last_event_at,omitempty"`
	// ExpiresAt is when Mandrill will remove the entry, which may be in the past. Absent or null: never. Documented, seen since 2015.
	ExpiresAt Date `json:"expires_at,omitempty"`
	// Expired says whether the entry has expired. Documented, seen since 2015.
	Expired bool `json:"expired"`
	// Subaccount that the entry is for, by its id. Absent or null: all. Documented, seen since 2015.
	Subaccount string `json:"subaccount,omitempty"`
	// Sender that the entry is for. May be the address alone. Absent or null: all. Seen since 2015.
	Sender *EntrySender `json:"sender,omitempty" or:"text"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}

// EntrySender is the sender that an entry of the denylist is for.
type EntrySender struct {
	// Address of the sender. Seen since 2015.
	Address string `json:"address,omitempty"`
	// Extra are the fields that this package does not know.
	Extra Extra `json:"-"`
}
