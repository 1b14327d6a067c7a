package journal

// EncodeEntries and DecodeEntries are how entries are in a message.
var (
	EncodeEntries = encodeEntries
	DecodeEntries = decodeEntries
)
