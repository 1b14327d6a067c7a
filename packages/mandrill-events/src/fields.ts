// Generated from package events by make generate.

import type { Structure, TypeEntry } from './table.js';

export const structures: Record<string, Structure> = {
 "AllowlistAdd": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "entry",
   "kind": "object",
   "of": "AllowlistEntry",
   "alias": "reject"
  }
 ],
 "AllowlistEntry": [
  {
   "name": "email",
   "kind": "text",
   "omit": true
  },
  {
   "name": "detail",
   "kind": "text",
   "omit": true
  },
  {
   "name": "created_at",
   "kind": "text",
   "omit": true
  }
 ],
 "AllowlistRemove": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "entry",
   "kind": "object",
   "of": "AllowlistEntry",
   "alias": "reject"
  }
 ],
 "Attachment": [
  {
   "name": "name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "type",
   "kind": "text",
   "omit": true
  },
  {
   "name": "content",
   "kind": "text",
   "omit": true
  },
  {
   "name": "base64",
   "kind": "optionalFlag",
   "omit": true
  }
 ],
 "Click": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  },
  {
   "name": "ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "location",
   "kind": "optionalObject",
   "of": "Location",
   "omit": true
  },
  {
   "name": "user_agent",
   "kind": "text",
   "omit": true
  },
  {
   "name": "user_agent_parsed",
   "kind": "optionalObject",
   "of": "UserAgent",
   "omit": true
  },
  {
   "name": "url",
   "kind": "text",
   "omit": true
  }
 ],
 "DKIM": [
  {
   "name": "signed",
   "kind": "flag"
  },
  {
   "name": "valid",
   "kind": "flag"
  }
 ],
 "Deferral": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "Delivered": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "DenylistAdd": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "reject",
   "kind": "object",
   "of": "DenylistEntry",
   "alias": "entry"
  }
 ],
 "DenylistChange": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "reject",
   "kind": "object",
   "of": "DenylistEntry",
   "alias": "entry"
  }
 ],
 "DenylistEntry": [
  {
   "name": "email",
   "kind": "text",
   "omit": true
  },
  {
   "name": "reason",
   "kind": "text",
   "omit": true
  },
  {
   "name": "detail",
   "kind": "text",
   "omit": true
  },
  {
   "name": "created_at",
   "kind": "text",
   "omit": true
  },
  {
   "name": "last_event_at",
   "kind": "text",
   "omit": true
  },
  {
   "name": "expires_at",
   "kind": "text",
   "omit": true
  },
  {
   "name": "expired",
   "kind": "flag"
  },
  {
   "name": "subaccount",
   "kind": "text",
   "omit": true
  },
  {
   "name": "sender",
   "kind": "optionalObject",
   "of": "EntrySender",
   "omit": true,
   "orText": true
  }
 ],
 "DenylistRemove": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "reject",
   "kind": "object",
   "of": "DenylistEntry",
   "alias": "entry"
  }
 ],
 "EntrySender": [
  {
   "name": "address",
   "kind": "text",
   "omit": true
  }
 ],
 "HardBounce": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "Image": [
  {
   "name": "name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "type",
   "kind": "text",
   "omit": true
  },
  {
   "name": "content",
   "kind": "text",
   "omit": true
  }
 ],
 "Inbound": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "InboundMessage"
  }
 ],
 "InboundMessage": [
  {
   "name": "raw_msg",
   "kind": "text",
   "omit": true
  },
  {
   "name": "headers",
   "kind": "headers"
  },
  {
   "name": "text",
   "kind": "text",
   "omit": true
  },
  {
   "name": "text_flowed",
   "kind": "flag"
  },
  {
   "name": "html",
   "kind": "text",
   "omit": true
  },
  {
   "name": "from_email",
   "kind": "text",
   "omit": true
  },
  {
   "name": "from_name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "to",
   "kind": "addresses"
  },
  {
   "name": "cc",
   "kind": "addresses"
  },
  {
   "name": "email",
   "kind": "text",
   "omit": true
  },
  {
   "name": "subject",
   "kind": "text",
   "omit": true
  },
  {
   "name": "tags",
   "kind": "texts"
  },
  {
   "name": "sender",
   "kind": "text",
   "omit": true
  },
  {
   "name": "template",
   "kind": "text",
   "omit": true
  },
  {
   "name": "attachments",
   "kind": "objectMap",
   "of": "Attachment"
  },
  {
   "name": "images",
   "kind": "objectMap",
   "of": "Image"
  },
  {
   "name": "spam_report",
   "kind": "optionalObject",
   "of": "SpamReport",
   "omit": true
  },
  {
   "name": "spf",
   "kind": "optionalObject",
   "of": "SPF",
   "omit": true
  },
  {
   "name": "dkim",
   "kind": "optionalObject",
   "of": "DKIM",
   "omit": true
  }
 ],
 "Location": [
  {
   "name": "country_short",
   "kind": "text",
   "omit": true
  },
  {
   "name": "country",
   "kind": "text",
   "alias": "country_long",
   "omit": true
  },
  {
   "name": "region",
   "kind": "text",
   "omit": true
  },
  {
   "name": "city",
   "kind": "text",
   "omit": true
  },
  {
   "name": "latitude",
   "kind": "optionalNumber",
   "omit": true
  },
  {
   "name": "longitude",
   "kind": "optionalNumber",
   "omit": true
  },
  {
   "name": "postal_code",
   "kind": "text",
   "omit": true
  },
  {
   "name": "timezone",
   "kind": "text",
   "omit": true
  }
 ],
 "Message": [
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "_version",
   "kind": "text",
   "omit": true
  },
  {
   "name": "subject",
   "kind": "text",
   "omit": true
  },
  {
   "name": "email",
   "kind": "text",
   "omit": true
  },
  {
   "name": "sender",
   "kind": "text",
   "omit": true
  },
  {
   "name": "tags",
   "kind": "texts"
  },
  {
   "name": "metadata",
   "kind": "metadata"
  },
  {
   "name": "state",
   "kind": "text",
   "omit": true
  },
  {
   "name": "opens",
   "kind": "objects",
   "of": "MessageOpen"
  },
  {
   "name": "clicks",
   "kind": "objects",
   "of": "MessageClick"
  },
  {
   "name": "smtp_events",
   "kind": "objects",
   "of": "SMTPEvent"
  },
  {
   "name": "resends",
   "kind": "list"
  },
  {
   "name": "subaccount",
   "kind": "text",
   "omit": true
  },
  {
   "name": "template",
   "kind": "text",
   "omit": true
  },
  {
   "name": "diag",
   "kind": "text",
   "omit": true
  },
  {
   "name": "bounce_description",
   "kind": "text",
   "omit": true
  },
  {
   "name": "bgtools_code",
   "kind": "integer",
   "omit": true
  },
  {
   "name": "reject",
   "kind": "optionalObject",
   "of": "Rejection",
   "omit": true,
   "orText": true
  }
 ],
 "MessageClick": [
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "url",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "location",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua",
   "kind": "text",
   "omit": true
  }
 ],
 "MessageOpen": [
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "location",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua",
   "kind": "text",
   "omit": true
  }
 ],
 "Open": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  },
  {
   "name": "ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "location",
   "kind": "optionalObject",
   "of": "Location",
   "omit": true
  },
  {
   "name": "user_agent",
   "kind": "text",
   "omit": true
  },
  {
   "name": "user_agent_parsed",
   "kind": "optionalObject",
   "of": "UserAgent",
   "omit": true
  }
 ],
 "OtherListEvent": [
  {
   "name": "type",
   "kind": "text"
  },
  {
   "name": "action",
   "kind": "text"
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "reject",
   "kind": "object",
   "of": "DenylistEntry",
   "alias": "entry"
  }
 ],
 "OtherMessage": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "Reject": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "Rejection": [
  {
   "name": "reason",
   "kind": "text",
   "omit": true
  },
  {
   "name": "last_event_at",
   "kind": "text",
   "omit": true
  }
 ],
 "SMTPEvent": [
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "type",
   "kind": "text",
   "omit": true
  },
  {
   "name": "diag",
   "kind": "text",
   "omit": true
  },
  {
   "name": "source_ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "destination_ip",
   "kind": "text",
   "omit": true
  },
  {
   "name": "size",
   "kind": "integer",
   "omit": true
  }
 ],
 "SPF": [
  {
   "name": "result",
   "kind": "text",
   "omit": true
  },
  {
   "name": "detail",
   "kind": "text",
   "omit": true
  }
 ],
 "Send": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "SoftBounce": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "Spam": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "SpamReport": [
  {
   "name": "score",
   "kind": "number"
  },
  {
   "name": "matched_rules",
   "kind": "objects",
   "of": "SpamRule"
  }
 ],
 "SpamRule": [
  {
   "name": "name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "score",
   "kind": "number"
  },
  {
   "name": "description",
   "kind": "text",
   "omit": true
  }
 ],
 "Unsub": [
  {
   "name": "event",
   "kind": "text"
  },
  {
   "name": "_id",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ts",
   "kind": "timestamp",
   "omit": true
  },
  {
   "name": "msg",
   "kind": "object",
   "of": "Message"
  }
 ],
 "UserAgent": [
  {
   "name": "type",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_family",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_version",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_url",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_company",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_company_url",
   "kind": "text",
   "omit": true
  },
  {
   "name": "ua_icon",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_family",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_name",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_url",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_company",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_company_url",
   "kind": "text",
   "omit": true
  },
  {
   "name": "os_icon",
   "kind": "text",
   "omit": true
  },
  {
   "name": "mobile",
   "kind": "flag"
  }
 ]
};

export const types: Record<string, TypeEntry> = {
 "com.mandrill.message.send": {
  "structure": "Send",
  "constants": {
   "event": [
    "send"
   ]
  }
 },
 "com.mandrill.message.delivered": {
  "structure": "Delivered",
  "constants": {
   "event": [
    "delivered"
   ]
  }
 },
 "com.mandrill.message.deferral": {
  "structure": "Deferral",
  "constants": {
   "event": [
    "deferral"
   ]
  }
 },
 "com.mandrill.message.hard_bounce": {
  "structure": "HardBounce",
  "constants": {
   "event": [
    "hard_bounce"
   ]
  }
 },
 "com.mandrill.message.soft_bounce": {
  "structure": "SoftBounce",
  "constants": {
   "event": [
    "soft_bounce"
   ]
  }
 },
 "com.mandrill.message.open": {
  "structure": "Open",
  "constants": {
   "event": [
    "open"
   ]
  }
 },
 "com.mandrill.message.click": {
  "structure": "Click",
  "constants": {
   "event": [
    "click"
   ]
  }
 },
 "com.mandrill.message.spam": {
  "structure": "Spam",
  "constants": {
   "event": [
    "spam"
   ]
  }
 },
 "com.mandrill.message.unsub": {
  "structure": "Unsub",
  "constants": {
   "event": [
    "unsub"
   ]
  }
 },
 "com.mandrill.message.reject": {
  "structure": "Reject",
  "constants": {
   "event": [
    "reject"
   ]
  }
 },
 "com.mandrill.sync.allowlist.add": {
  "structure": "AllowlistAdd",
  "constants": {
   "action": [
    "add"
   ],
   "type": [
    "allowlist",
    "whitelist",
    "safelist"
   ]
  }
 },
 "com.mandrill.sync.allowlist.remove": {
  "structure": "AllowlistRemove",
  "constants": {
   "action": [
    "remove"
   ],
   "type": [
    "allowlist",
    "whitelist",
    "safelist"
   ]
  }
 },
 "com.mandrill.sync.denylist.add": {
  "structure": "DenylistAdd",
  "constants": {
   "action": [
    "add"
   ],
   "type": [
    "denylist",
    "blacklist",
    "blocklist"
   ]
  }
 },
 "com.mandrill.sync.denylist.change": {
  "structure": "DenylistChange",
  "constants": {
   "action": [
    "change"
   ],
   "type": [
    "denylist",
    "blacklist",
    "blocklist"
   ]
  }
 },
 "com.mandrill.sync.denylist.remove": {
  "structure": "DenylistRemove",
  "constants": {
   "action": [
    "remove"
   ],
   "type": [
    "denylist",
    "blacklist",
    "blocklist"
   ]
  }
 },
 "com.mandrill.inbound": {
  "structure": "Inbound",
  "constants": {
   "event": [
    "inbound"
   ]
  }
 },
 "com.mandrill.message.": {
  "structure": "OtherMessage",
  "constants": {
   "event": null
  }
 },
 "com.mandrill.sync.": {
  "structure": "OtherListEvent",
  "constants": {
   "action": null,
   "type": [
    "allowlist",
    "whitelist",
    "safelist",
    "denylist",
    "blacklist",
    "blocklist"
   ]
  }
 }
};
