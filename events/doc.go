// Package events has a Go type for the data of each CloudEvents type that the receiver sends, and [Parse], which reads them.
//
// Mandrill encodes its events with PHP. An empty map may be [], a list with one element may be the element, a number may be a
// string, and any field may be null or missing. Parse removes these quirks: the fields of the types have one Go type each, and what
// Mandrill does not send is the zero value. Parse refuses an event of a known type only if a field has a value of a kind that was
// neither documented nor seen, such as an object as the subject.
//
// Fields that this package does not know are kept in Extra, so that an event can be encoded again without loss. The encoding has one
// form of each value, the normal form: types, lists and addresses as the Go types have them, and no null.
//
// The comment of each field ends with how certain it is. Documented: Mandrill's documentation describes it. Seen: it is in genuine
// events that their recipients have published. Assumed: it follows from other fields. Defined: this project defines it, in [Alerts],
// which the operator sends. The JSON Schemas are generated from these types and comments.
package events
