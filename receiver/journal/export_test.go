package journal

// FaultsOf is what is wrong with a stream.
var FaultsOf = faultsOf

// Redact takes addresses out of a text.
var Redact = redact
