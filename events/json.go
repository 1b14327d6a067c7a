package events

// Every struct encodes and decodes itself by the rules of this package, so that encoding/json can be used with each.

// MarshalJSON encodes the normal form.
func (v MessageEvent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *MessageEvent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Send) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Send) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Delivered) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Delivered) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Deferral) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Deferral) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v HardBounce) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *HardBounce) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SoftBounce) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SoftBounce) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Open) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Open) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Click) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Click) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Spam) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Spam) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Unsub) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Unsub) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Reject) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Reject) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v OtherMessage) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *OtherMessage) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Location) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Location) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v UserAgent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *UserAgent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Message) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Message) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v MessageOpen) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *MessageOpen) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v MessageClick) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *MessageClick) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SMTPEvent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SMTPEvent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Rejection) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Rejection) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v AllowlistEvent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *AllowlistEvent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v AllowlistAdd) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *AllowlistAdd) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v AllowlistRemove) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *AllowlistRemove) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v AllowlistEntry) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *AllowlistEntry) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DenylistEvent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DenylistEvent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DenylistAdd) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DenylistAdd) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DenylistChange) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DenylistChange) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DenylistRemove) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DenylistRemove) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v OtherListEvent) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *OtherListEvent) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DenylistEntry) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DenylistEntry) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v EntrySender) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *EntrySender) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Inbound) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Inbound) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v InboundMessage) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *InboundMessage) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Attachment) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Attachment) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v Image) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *Image) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SpamReport) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SpamReport) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SpamRule) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SpamRule) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v SPF) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *SPF) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON encodes the normal form.
func (v DKIM) MarshalJSON() ([]byte, error) { return marshal(v) }

// UnmarshalJSON decodes an object as [Parse] does.
func (v *DKIM) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// MarshalJSON returns the data, which must be valid JSON.
func (v Unknown) MarshalJSON() ([]byte, error) { return v.Data, nil }
