package main

import (
	"fmt"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const head = `<!-- Generated from the table in api/eventtypes by make generate. -->
# CloudEvents

Each event of a Mandrill batch becomes one CloudEvent (version 1.0, HTTP binary content mode).

| attribute | value |
|---|---|
| ` + "`id`" + ` | the first 16 bytes of the SHA-256 of the event's bytes, in hex; of events that are identical within a batch the second has ` + "`-1`" + ` appended, the third ` + "`-2`" + `. A batch that Mandrill sends again gives the same ids |
| ` + "`source`" + ` | ` + "`/apis/mandrill-operator.io/namespaces/<namespace>/mandrillwebhooks/<name>`" + ` |
| ` + "`type`" + ` | see below |
| ` + "`subject`" + ` | Mandrill's message id (` + "`_id`" + `); of a list change the address; of inbound mail the address that received it |
| ` + "`time`" + ` | ` + "`ts`" + ` of the event, UTC; absent when Mandrill sent none |
| ` + "`datacontenttype`" + ` | ` + "`application/json`" + `; ` + "`application/octet-stream`" + ` for an element of the batch that is not valid JSON, or not UTF-8 |
| ` + "`partitionkey`" + ` | Mandrill's message id; events of one message are sent in order |
| ` + "`recipientdomain`" + ` | domain of the recipient, or of the listed address, in lower case: what follows the last ` + "`" + `@` + "`" + ` |
| ` + "`subaccount`, `template`, `tag`" + ` | of the message; ` + "`tag`" + ` is the first of its tags |
| ` + "`traceparent`, `tracestate`" + ` | of the span that sent the event, also as HTTP headers of these names; only when the receiver sends [traces](metrics.md#traces) |

The data are the event's bytes exactly as Mandrill sent them. An attribute is left out when Mandrill sent no
value for it, or one that cannot be an attribute: over 1,024 bytes, or with control characters. In HTTP headers
everything beyond ASCII, double quotes and percent signs are percent-encoded, as the CloudEvents HTTP binding says;
spaces are sent as they are, because the Go SDK, and so Knative, does not decode them. Spaces at the ends of a value are
removed, in all content modes, because HTTP removes them from headers. In Structured and Batched mode data of
` + "`" + `application/octet-stream` + "`" + ` are in ` + "`" + `data_base64` + "`" + `, so that an event that is not JSON does not spoil the request of others.

| type | what Mandrill sends | meaning |
|---|---|---|
`

var families = map[eventtypes.Family]string{eventtypes.Unknown: "anything else", eventtypes.Inbound: "`event: inbound`"}

func writeCatalogue(_ *model) error {
	fmt.Print(head)
	for _, row := range eventtypes.Table {
		ceType, sent := row.Type, families[row.Family]
		switch {
		case row.Family == eventtypes.Message && row.IsPrefix():
			ceType, sent = row.Type+"<event>", "any other `event`"
		case row.Family == eventtypes.Message:
			sent = "`event: " + row.Name + "`"
		case row.Family == eventtypes.Sync && row.IsPrefix():
			ceType, sent = row.Type+"<list>.<action>", "any other `action` of a list"
		case row.Family == eventtypes.Sync:
			sent = "`type: " + row.Name + "` or `" + mandrill.WireName(row.Name) + "`, `action: " + row.Action + "`"
		}
		fmt.Printf("| `%s` | %s | %s |\n", ceType, sent, row.Description)
	}
	return nil
}
