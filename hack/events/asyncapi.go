package main

import (
	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
)

// writeAsyncAPI writes an AsyncAPI document of the events in Binary mode. It refers to the schemas beside it.
func writeAsyncAPI() error {
	var messages pairs
	channelMessages, alertMessages := messagesOf(eventtypes.Table, headerSchemas, &messages), messagesOf(eventtypes.Alerts, alertHeaderSchemas, &messages)
	return writeJSON("schemas/asyncapi.json", pairs{
		{"asyncapi", "3.0.0"},
		{"info", pairs{
			{"title", "Events of Mandrill as CloudEvents"}, {"version", "1.1.0"},
			{"description", "What the receiver of mandrill-operator posts to a sink, and the operator to an alert sink, in Binary mode. In Structured and Batched mode the same attributes and data are in JSON."},
			{"license", pairs{{"name", "Apache 2.0"}, {"url", "https://www.apache.org/licenses/LICENSE-2.0"}}},
		}},
		{"defaultContentType", "application/json"},
		{"channels", pairs{
			{"sink", pairs{{"address", nil}, {"description", "The sink of a MandrillWebhook."}, {"messages", channelMessages}}},
			{"alertSink", pairs{{"address", nil}, {"description", "The alert sink of a MandrillWebhook."}, {"messages", alertMessages}}},
		}},
		{"operations", pairs{
			{"deliver", operation("sink", "The receiver posts an event and reads the status of the answer.")},
			{"alert", operation("alertSink", "The operator posts an alert and reads the status of the answer.")},
		}},
		{"components", pairs{{"messages", messages}}},
	})
}

func operation(channel, summary string) pairs {
	return pairs{
		{"action", "send"}, {"channel", pairs{{"$ref", "#/channels/" + channel}}}, {"summary", summary},
		{"bindings", pairs{{"http", pairs{{"method", "POST"}, {"bindingVersion", "0.3.0"}}}}},
	}
}

// messagesOf adds the messages of rows to those of the document, and returns references to them.
func messagesOf(rows []eventtypes.EventType, headerSchemas pairs, messages *pairs) (references pairs) {
	for _, row := range rows {
		if _, ok := goType(row); !ok {
			continue
		}
		name, ceType := row.SchemaFile(), pairs{{"type", "string"}, {"const", row.Type}}
		name = name[:len(name)-len(".json")]
		if row.IsPrefix() {
			ceType = pairs{{"type", "string"}, {"description", "Begins with " + row.Type}}
		}
		headers := pairs{
			{"type", "object"}, {"required", []string{"ce-specversion", "ce-id", "ce-source", "ce-type"}},
			{"properties", append(pairs{{"ce-type", ceType}}, headerSchemas...)},
		}
		*messages = append(*messages, pair{name, pairs{
			{"name", row.Type}, {"title", row.Type}, {"summary", row.Description}, {"contentType", "application/json"},
			{"headers", headers}, {"payload", pairs{{"$ref", "./v1/" + row.SchemaFile()}}},
		}})
		references = append(references, pair{name, pairs{{"$ref", "#/components/messages/" + name}}})
	}
	return references
}

// headerSchemas are the attributes that all events may have.
var headerSchemas = pairs{
	{"ce-specversion", pairs{{"type", "string"}, {"const", "1.0"}}},
	{"ce-id", pairs{{"type", "string"}, {"description", "The same each time that an event is delivered."}}},
	{"ce-source", pairs{{"type", "string"}, {"description", "The MandrillWebhook."}}},
	{"ce-subject", pairs{{"type", "string"}, {"description", "The message's id, the address on a list, or the address that received mail."}}},
	{"ce-time", pairs{{"type", "string"}, {"format", "date-time"}}},
	{"ce-dataschema", pairs{{"type", "string"}, {"format", "uri"}}},
	{"ce-partitionkey", pairs{{"type", "string"}, {"description", "Events that share it are sent in order."}}},
	{"ce-recipientdomain", pairs{{"type", "string"}}},
	{"ce-subaccount", pairs{{"type", "string"}}},
	{"ce-template", pairs{{"type", "string"}}},
	{"ce-tag", pairs{{"type", "string"}}},
}

// alertHeaderSchemas are the attributes that alerts have.
var alertHeaderSchemas = pairs{
	{"ce-specversion", pairs{{"type", "string"}, {"const", "1.0"}}},
	{"ce-id", pairs{{"type", "string"}, {"description", "The same each time that an alert is sent again."}}},
	{"ce-source", pairs{{"type", "string"}, {"description", "The MandrillWebhook."}}},
	{"ce-subject", pairs{{"type", "string"}, {"description", "Namespace and name of the MandrillWebhook."}}},
	{"ce-time", pairs{{"type", "string"}, {"format", "date-time"}}},
	{"ce-dataschema", pairs{{"type", "string"}, {"format", "uri"}}},
	{"ce-partitionkey", pairs{{"type", "string"}, {"description", "The same as the subject. Alerts that share it are sent in order."}}},
}
