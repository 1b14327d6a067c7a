// Package schemas has the JSON Schemas of the data of the CloudEvents, as they are in the attribute dataschema. make generate writes
// them from package events.
//
// Those in v1 are of what Mandrill sends, with the quirks that package events absorbs. Those in v1/normalized are of the normal form,
// which package events makes.
package schemas

import "embed"

// Files are the schemas. The URL of a file is https://mandrill-operator.io/schemas/ and its path.
//
//go:embed v1
var Files embed.FS
