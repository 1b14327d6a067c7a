// Generated from package events by make generate.

/** Mandrill accepted the message and tries to deliver it. */
export interface Send {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'send';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient's server accepted the message. */
export interface Delivered {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'delivered';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient's server asked to try later, and Mandrill will. */
export interface Deferral {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'deferral';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The message cannot be delivered, and Mandrill adds the address to the denylist. */
export interface HardBounce {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'hard_bounce';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The message was not delivered, and Mandrill has stopped trying. */
export interface SoftBounce {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'soft_bounce';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient, or a program of theirs, loaded the images of the message. */
export interface Open {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'open';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** The address of the visitor, IPv4 or IPv6. Absent or null: unknown. Documented, seen since 2013. */
  ip?: string;
  /** Where that address is, roughly. Absent, null or []: unknown. Documented, seen since 2013. */
  location?: Location;
  /** The User-Agent header of the visitor. Absent or null: unknown. Documented, seen since 2013. */
  user_agent?: string;
  /** What Mandrill made of it. Absent, null or []: nothing. Documented, seen since 2013. */
  user_agent_parsed?: UserAgent;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient, or a program of theirs, followed a link. */
export interface Click {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'click';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** The address of the visitor, IPv4 or IPv6. Absent or null: unknown. Documented, seen since 2013. */
  ip?: string;
  /** Where that address is, roughly. Absent, null or []: unknown. Documented, seen since 2013. */
  location?: Location;
  /** The User-Agent header of the visitor. Absent or null: unknown. Documented, seen since 2013. */
  user_agent?: string;
  /** What Mandrill made of it. Absent, null or []: nothing. Documented, seen since 2013. */
  user_agent_parsed?: UserAgent;
  /** The link, as it was written in the message. Documented, seen since 2013. */
  url?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient reported the message as spam. */
export interface Spam {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'spam';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The recipient unsubscribed. */
export interface Unsub {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'unsub';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Mandrill refused to send the message; msg.reject says why. */
export interface Reject {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: 'reject';
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address was added to the allowlist. */
export interface AllowlistAdd {
  /** Allowlist in the normal form. Mandrill sends whitelist; documentation called it safelist, and calls it allowlist. Documented, seen since 2015. */
  type: 'allowlist';
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: 'add';
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added or removed. Documentation calls it reject. Seen since 2015. */
  entry: AllowlistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address was removed from the allowlist. */
export interface AllowlistRemove {
  /** Allowlist in the normal form. Mandrill sends whitelist; documentation called it safelist, and calls it allowlist. Documented, seen since 2015. */
  type: 'allowlist';
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: 'remove';
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added or removed. Documentation calls it reject. Seen since 2015. */
  entry: AllowlistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address was added to the denylist. */
export interface DenylistAdd {
  /** Denylist in the normal form. Mandrill sends blacklist; documentation calls it denylist. Documented, seen since 2015. */
  type: 'denylist';
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: 'add';
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added, changed or removed. The allowlist's is called entry. Documented, seen since 2015. */
  reject: DenylistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An entry of the denylist changed. */
export interface DenylistChange {
  /** Denylist in the normal form. Mandrill sends blacklist; documentation calls it denylist. Documented, seen since 2015. */
  type: 'denylist';
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: 'change';
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added, changed or removed. The allowlist's is called entry. Documented, seen since 2015. */
  reject: DenylistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address was removed from the denylist. */
export interface DenylistRemove {
  /** Denylist in the normal form. Mandrill sends blacklist; documentation calls it denylist. Documented, seen since 2015. */
  type: 'denylist';
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: 'remove';
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added, changed or removed. The allowlist's is called entry. Documented, seen since 2015. */
  reject: DenylistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Mail arrived at an inbound route. It has no id: use the header Message-Id. */
export interface Inbound {
  /** Always inbound. Documented, seen since 2013. */
  event: 'inbound';
  /** When the mail arrived, in seconds since 1970. Absent or null: unknown. Documented, seen since 2013. */
  ts?: number;
  /** The mail. Documented, seen since 2013. */
  msg: InboundMessage;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The data of an event of a message that has no type of its own here, because Mandrill added it later. */
export interface OtherMessage {
  /** The name of the event. Always present. Documented, seen since 2012. */
  event: string;
  /** Mandrill's id of the message, not of the event: several events have the same. It is opaque: mostly 32 hexadecimal digits. Absent in events of 2012 and 2013; the normal form takes it from msg then. Documented, seen since 2013. */
  _id?: string;
  /** When the event happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2012. */
  ts?: number;
  /** The message as it was when the event happened. Absent, null or [] in opens and clicks of a message that is older than 30 days, or that Mandrill has not indexed yet. Documented, seen since 2012. */
  msg: Message;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The data of a change of a list that has no type of its own here, because Mandrill added it later. List is allowlist or denylist. */
export interface OtherListEvent {
  /** Denylist in the normal form. Mandrill sends blacklist; documentation calls it denylist. Documented, seen since 2015. */
  type: string;
  /** What happened to the entry. Always present. Documented, seen since 2015. */
  action: string;
  /** When it happened, in seconds since 1970. Absent or null: unknown. Documented, seen since 2015. */
  ts?: number;
  /** What was added, changed or removed. The allowlist's is called entry. Documented, seen since 2015. */
  reject: DenylistEntry;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The sink has accepted nothing for a minute. While that lasts it is sent again every hour. */
export interface SinkFailing {
  /** Namespace of the MandrillWebhook. Defined. */
  namespace: string;
  /** Name of the MandrillWebhook. Defined. */
  name: string;
  /** That of the Kubernetes Event that is recorded at the same time. Defined. */
  reason: string;
  /** What happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined. */
  message: string;
  /** The reason of the condition Delivered: SinkFailing, SinkRefusing or CircuitOpen. Defined. */
  condition?: string;
  /** When Delivered became False, a minute after the first failure, in RFC 3339. Defined. */
  since?: string;
  /** The last failed attempt. Defined. */
  lastFailure?: SinkFailure;
  /** How many events wait for the sink. Defined. */
  waitingEvents: number;
  /** Since when the oldest of them waits, in RFC 3339. Defined. */
  oldestWaitingAt?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The sink accepts events again. */
export interface SinkRecovered {
  /** Namespace of the MandrillWebhook. Defined. */
  namespace: string;
  /** Name of the MandrillWebhook. Defined. */
  name: string;
  /** That of the Kubernetes Event that is recorded at the same time. Defined. */
  reason: string;
  /** What happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined. */
  message: string;
  /** How many events still wait for the sink. Defined. */
  waitingEvents: number;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Events were given up and became dead letters. It is sent at most every hour. */
export interface DeadLettered {
  /** Namespace of the MandrillWebhook. Defined. */
  namespace: string;
  /** Name of the MandrillWebhook. Defined. */
  name: string;
  /** That of the Kubernetes Event that is recorded at the same time. Defined. */
  reason: string;
  /** What happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined. */
  message: string;
  /** How many dead letters there are now. Defined. */
  deadLetters: number;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Mandrill has disabled the webhook because too many batches failed, and the operator enables it again. */
export interface WebhookDisabled {
  /** Namespace of the MandrillWebhook. Defined. */
  namespace: string;
  /** Name of the MandrillWebhook. Defined. */
  name: string;
  /** That of the Kubernetes Event that is recorded at the same time. Defined. */
  reason: string;
  /** What happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined. */
  message: string;
  /** The ID of the webhook at Mandrill. Defined. */
  webhookID: number;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** No events arrive although spec.expectEvents expects them. The reason is Silent if Mandrill sends nothing, and NotArriving if it sends batches that no receiver accepts. */
export interface WebhookSilent {
  /** Namespace of the MandrillWebhook. Defined. */
  namespace: string;
  /** Name of the MandrillWebhook. Defined. */
  name: string;
  /** That of the Kubernetes Event that is recorded at the same time. Defined. */
  reason: string;
  /** What happened and what to do, in English, as the Kubernetes Event does. Its wording may change. Defined. */
  message: string;
  /** When a receiver last accepted a batch, in RFC 3339. Absent: it never did. Defined. */
  lastReceivedAt?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An open in the history of a message. */
export interface MessageOpen {
  /** When it was opened, in seconds since 1970. Documented, seen since 2012. */
  ts?: number;
  /** The address of the visitor. Absent from what "Send test" makes. Documented, seen since 2013. */
  ip?: string;
  /** The place of that address as text, such as Lisbon, PT. Absent or null: unknown. Documented, seen since 2013. */
  location?: string;
  /** The program as text, such as Linux/Thunderbird. Absent or null: unknown. Documented, seen since 2013. */
  ua?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A click in the history of a message. */
export interface MessageClick {
  /** When the link was followed, in seconds since 1970. Documented, seen since 2012. */
  ts?: number;
  /** The link. Documented, seen since 2012. */
  url?: string;
  /** The address of the visitor. Absent from what "Send test" makes. Documented, seen since 2013. */
  ip?: string;
  /** The place of that address as text, such as Lisbon, PT. Absent or null: unknown. Documented, seen since 2013. */
  location?: string;
  /** The program as text, such as Linux/Thunderbird. Absent or null: unknown. Documented, seen since 2013. */
  ua?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An answer of a recipient's server. */
export interface SMTPEvent {
  /** When it answered, in seconds since 1970. Documented, seen since 2015. */
  ts?: number;
  /** What became of the attempt: sent, deferred, bounced, rejected or delivered. Documented, seen since 2015. */
  type?: string;
  /** The answer. Documented, seen since 2015. */
  diag?: string;
  /** The address that Mandrill sent from. Documented, seen since 2015. */
  source_ip?: string;
  /** The address of the server. May be an empty string. Documented, seen since 2015. */
  destination_ip?: string;
  /** Size of the message in bytes. Documented, seen since 2015. */
  size?: number;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Why Mandrill refused to send a message. */
export interface Rejection {
  /** One of hard-bounce, soft-bounce, spam, unsub, custom, invalid-sender, invalid, test-mode-limit, unsigned or rule. Documented, seen since 2015. */
  reason?: string;
  /** When the address was put on the denylist, or last refused. Documented. */
  last_event_at?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A message and its history until the event. The events that "Send test" makes at Mandrill have fewer fields. */
export interface Message {
  /** Mandrill's id of the message. Documented, seen since 2012. */
  _id?: string;
  /** When the message was sent, in seconds since 1970. Null in some opens. Documented, seen since 2012. */
  ts?: number;
  /** Version of the record at Mandrill: opaque, a string or a number. Absent in most events. Seen since 2012. */
  _version?: string;
  /** Subject of the message. Documented, seen since 2012. */
  subject?: string;
  /** The address of the recipient. Absent: Mandrill does not have the message. Documented, seen since 2012. */
  email?: string;
  /** The address that the message was sent from. Documented, seen since 2012. */
  sender?: string;
  /** Tags that the message was sent with. Documented, seen since 2012. */
  tags: string[];
  /** Metadata that the message was sent with: names and values, which are strings or numbers. [] when there are none. Documented, seen since 2012. */
  metadata: Record<string, unknown>;
  /** State of the message: sent, rejected, spam, unsub, bounced, soft-bounced, deferred, or another that Mandrill may add. Documented, seen since 2012. */
  state?: string;
  /** The opens so far. Absent from bounces that "Send test" makes. Documented, seen since 2012. */
  opens: MessageOpen[];
  /** The clicks so far. Absent from bounces that "Send test" makes. Documented, seen since 2012. */
  clicks: MessageClick[];
  /** What recipients' servers answered so far. Absent from what "Send test" makes of send. Documented, seen since 2015. */
  smtp_events: SMTPEvent[];
  /** Resends of the message. The form of their elements is not documented, and none was seen. Seen since 2015. */
  resends: unknown[];
  /** Subaccount that the message was sent with, by its id. Absent or null: none. Documented, seen since 2015. */
  subaccount?: string;
  /** Template that the message was sent with, by its slug. Absent or null: none. Documented, seen since 2015. */
  template?: string;
  /** What the recipient's server answered, in a bounce; often it begins with smtp;. Absent or null: no answer. Documented, seen since 2012. */
  diag?: string;
  /** Mandrill's class of a bounce, such as bad_mailbox, invalid_domain or mailbox_full. Absent: no bounce. Documented, seen since 2012. */
  bounce_description?: string;
  /** The number of that class: 10 with bad_mailbox, 22 with mailbox_full. Absent: no bounce. Seen since 2012. */
  bgtools_code?: number;
  /** Why Mandrill refused to send the message. Absent, null or []: it did not. May be the reason alone. Documented, seen since 2015. */
  reject?: Rejection;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A place. For private addresses texts are "-", and coordinates are the text "INVALID IP ADDRESS". */
export interface Location {
  /** The ISO 3166 code of the country. Documented, seen since 2013. */
  country_short?: string;
  /** Its English name. Documentation calls it country_long. Seen since 2013. */
  country?: string;
  /** The name of the state or province. Documented, seen since 2013. */
  region?: string;
  /** Its name. Documented, seen since 2013. */
  city?: string;
  /** Latitude in degrees. Absent in the normal form when it is not a number. Documented, seen since 2013. */
  latitude?: number;
  /** Longitude in degrees. Absent in the normal form when it is not a number. Documented, seen since 2013. */
  longitude?: number;
  /** That of the place. Documented, seen since 2013. */
  postal_code?: string;
  /** The offset from UTC, such as -05:00. Documented, seen since 2013. */
  timezone?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A program and its operating system. */
export interface UserAgent {
  /** The kind of program, such as Email Client or Browser. Null: unknown. Documented, seen since 2013. */
  type?: string;
  /** The program. Null: unknown. Documented, seen since 2013. */
  ua_family?: string;
  /** The program with its version. Null: unknown. Documented, seen since 2013. */
  ua_name?: string;
  /** Its version. Null: unknown. Documented, seen since 2013. */
  ua_version?: string;
  /** The program's web site. Null: unknown. Documented, seen since 2013. */
  ua_url?: string;
  /** The company that makes the program. Null: unknown. Documented, seen since 2013. */
  ua_company?: string;
  /** The company's web site. Null: unknown. Documented, seen since 2013. */
  ua_company_url?: string;
  /** The URL of the program's icon. Null: unknown. Documented, seen since 2013. */
  ua_icon?: string;
  /** The operating system. Null: unknown. Documented, seen since 2013. */
  os_family?: string;
  /** The operating system with its version. Null: unknown. Documented, seen since 2013. */
  os_name?: string;
  /** Its web site. Null: unknown. Documented, seen since 2013. */
  os_url?: string;
  /** The company that makes the operating system. Null: unknown. Documented, seen since 2013. */
  os_company?: string;
  /** The company's web site. Null: unknown. Documented, seen since 2013. */
  os_company_url?: string;
  /** The URL of the system's icon. Null: unknown. Documented, seen since 2013. */
  os_icon?: string;
  /** Whether it is a mobile device. Documented, seen since 2013. */
  mobile: boolean;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address that Mandrill sends to even if it bounced before. */
export interface AllowlistEntry {
  /** The address. Documented, seen since 2015. */
  email?: string;
  /** A note. Absent or null: none. Documented, seen since 2015. */
  detail?: string;
  /** When the entry was made. Documented, seen since 2015. */
  created_at?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The sender that an entry of the denylist is for. */
export interface EntrySender {
  /** Address of the sender. Seen since 2015. */
  address?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An address that Mandrill does not send to. */
export interface DenylistEntry {
  /** The address. Documented, seen since 2015. */
  email?: string;
  /** One of hard-bounce, soft-bounce, spam, unsub, custom, or another that Mandrill may add. Documented, seen since 2015. */
  reason?: string;
  /** What the recipient's server answered, or a note. Absent or null: none. Documented, seen since 2015. */
  detail?: string;
  /** When the entry was made. Documented, seen since 2015. */
  created_at?: string;
  /** When a message to the address was last refused or bounced. Documented, seen since 2015. */
  last_event_at?: string;
  /** When Mandrill will remove the entry, which may be in the past. Absent or null: never. Documented, seen since 2015. */
  expires_at?: string;
  /** Whether the entry has expired. Documented, seen since 2015. */
  expired: boolean;
  /** Subaccount that the entry is for, by its id. Absent or null: all. Documented, seen since 2015. */
  subaccount?: string;
  /** Sender that the entry is for. May be the address alone. Absent or null: all. Seen since 2015. */
  sender?: EntrySender;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A part of a mail. */
export interface Attachment {
  /** The file name. Documented, seen since 2013. */
  name?: string;
  /** The MIME type. Documented, seen since 2013. */
  type?: string;
  /** The text, or the base64 encoding if base64 is true. Documented, seen since 2013. */
  content?: string;
  /** Whether the content is encoded. Absent: not known; take it for text. Documented, seen since 2013. */
  base64?: boolean;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** An image in the text of a mail. */
export interface Image {
  /** The file name. Documented, seen since 2013. */
  name?: string;
  /** The MIME type. Documented, seen since 2013. */
  type?: string;
  /** The base64 encoding of the image: always, although there is no field that says so. Documented, seen since 2013. */
  content?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A rule of SpamAssassin. Lines that it wraps become rules of their own, with parts of a description as the name. */
export interface SpamRule {
  /** Name of the rule. May be null. Documented, seen since 2013. */
  name?: string;
  /** Score of the rule, which is below zero for a rule that speaks against spam. Documented, seen since 2013. */
  score: number;
  /** Description of the rule. May be null. Documented, seen since 2013. */
  description?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** What SpamAssassin says about a mail. */
export interface SpamReport {
  /** The sum of the rules; more is more like spam. Documented, seen since 2013. */
  score: number;
  /** The rules that matched. Documented, seen since 2013. */
  matched_rules: SpamRule[];
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The outcome of a check (RFC 7208). */
export interface SPF {
  /** One of pass, neutral, fail, softfail, temperror, permerror or none. Documented, seen since 2013. */
  result?: string;
  /** The result in words. Documented, seen since 2013. */
  detail?: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The outcome of a check (RFC 6376). */
export interface DKIM {
  /** Whether the mail has a signature. Documented, seen since 2013. */
  signed: boolean;
  /** Whether the signature is good. Documented, seen since 2013. */
  valid: boolean;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** Mail that arrived. raw_msg is the reliable source: what was made of it depends on Mandrill's parser. */
export interface InboundMessage {
  /** The whole MIME message, with lines that end with \n. How Mandrill writes bytes that are not UTF-8 is not known. Documented, seen since 2013. */
  raw_msg?: string;
  /** Headers by name. A header that is there once is a string, one that repeats is a list; [] when there are none. Names are written like Message-Id. Documented, seen since 2013. */
  headers: Record<string, string[]>;
  /** The part that is plain text. Absent: there is none. Documented, seen since 2013. */
  text?: string;
  /** Whether the text has soft line breaks (RFC 3676). Seen since 2013. */
  text_flowed: boolean;
  /** The part that is HTML. Absent: there is none. Documented, seen since 2013. */
  html?: string;
  /** The address in the From header. Documented, seen since 2013. */
  from_email?: string;
  /** The name in the From header, as it is written there, with spaces at its end. Absent or null: none. Documented, seen since 2013. */
  from_name?: string;
  /** The addresses in the To header: pairs of address and name, which is null if there is none. Documented, seen since 2013. */
  to: [email: string, name: string][];
  /** The addresses in the Cc header, as those in to. Absent or []: none. Seen since 2013. */
  cc: [email: string, name: string][];
  /** The address that received the mail: that of the envelope. Documented, seen since 2013. */
  email?: string;
  /** Subject of the mail. Documented, seen since 2013. */
  subject?: string;
  /** Always []. Documented, seen since 2013. */
  tags: string[];
  /** Always null. Documented, seen since 2013. */
  sender?: string;
  /** Always null. Seen since 2013. */
  template?: string;
  /** Attachments by file name. Absent or []: none. Documentation calls it an array, which is read as well. Two parts with one name may be one here: raw_msg has both. Documented, seen since 2013. */
  attachments: Record<string, Attachment>;
  /** The parts that are images in the text, by file name. Otherwise as attachments. Documented, seen since 2013. */
  images: Record<string, Image>;
  /** What SpamAssassin says. Absent, null or []: nothing. Documented, seen since 2013. */
  spam_report?: SpamReport;
  /** Whether the sending server may send for its domain. Absent, null or []: not checked. Documented, seen since 2013. */
  spf?: SPF;
  /** Whether the mail is signed. Absent, null or []: not checked. Documented, seen since 2013. */
  dkim?: DKIM;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** A failed attempt to deliver, as in status.delivery.lastFailure of the object. */
export interface SinkFailure {
  /** One of Unresolved, Unreachable, TLS, Timeout, NoAnswer, Status, Overloaded, Refused, Forbidden, Token or Other. Defined. */
  reason: string;
  /** That of the sink's answer. Absent: it did not answer. Defined. */
  status?: number;
  /** When the attempt failed, in RFC 3339. Defined. */
  at: string;
  /** Fields that this package does not know. */
  [field: string]: unknown;
}

/** The data of each type. Types that Mandrill may add are one type here, which ends with an asterisk. */
export interface DataByType {
  'com.mandrill.message.send': Send;
  'com.mandrill.message.delivered': Delivered;
  'com.mandrill.message.deferral': Deferral;
  'com.mandrill.message.hard_bounce': HardBounce;
  'com.mandrill.message.soft_bounce': SoftBounce;
  'com.mandrill.message.open': Open;
  'com.mandrill.message.click': Click;
  'com.mandrill.message.spam': Spam;
  'com.mandrill.message.unsub': Unsub;
  'com.mandrill.message.reject': Reject;
  'com.mandrill.sync.allowlist.add': AllowlistAdd;
  'com.mandrill.sync.allowlist.remove': AllowlistRemove;
  'com.mandrill.sync.denylist.add': DenylistAdd;
  'com.mandrill.sync.denylist.change': DenylistChange;
  'com.mandrill.sync.denylist.remove': DenylistRemove;
  'com.mandrill.inbound': Inbound;
  'com.mandrill.unknown': unknown;
  'com.mandrill.message.*': OtherMessage;
  'com.mandrill.sync.*': OtherListEvent;
  'io.mandrill-operator.webhook.sink_failing': SinkFailing;
  'io.mandrill-operator.webhook.sink_recovered': SinkRecovered;
  'io.mandrill-operator.webhook.dead_lettered': DeadLettered;
  'io.mandrill-operator.webhook.disabled': WebhookDisabled;
  'io.mandrill-operator.webhook.silent': WebhookSilent;
}
