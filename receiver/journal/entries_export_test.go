package journal

// EncodeEntries and DecodeEntries are how entries are in a message, and Compress what is done to it.
var (
	EncodeEntries = encodeEvents
	DecodeEntries = decodeEvents
	Compress      = compress
)
