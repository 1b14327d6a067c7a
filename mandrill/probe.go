package mandrill

import "bytes"

// ProbeEvent is the name of an event that is not Mandrill's: a batch that has only this event asks whether a body of its size
// reaches the receiver, which checks the signature and drops the event.
const ProbeEvent = "mandrill_operator_probe"

const probeStart = `{"event":"` + ProbeEvent + `","padding":"`

// ProbeBatch returns a batch with one ProbeEvent and as much padding as it takes to reach a size.
func ProbeBatch(size int) []byte {
	const end = `"}]`
	padding := max(0, size-len("[")-len(probeStart)-len(end))
	batch := append(make([]byte, 0, size), "["+probeStart...)
	batch = append(batch, bytes.Repeat([]byte{'x'}, padding)...)
	return append(batch, end...)
}

// IsProbe reports whether the events of a batch are that of ProbeBatch. It reads only the beginning.
func IsProbe(events [][]byte) bool {
	return len(events) == 1 && bytes.HasPrefix(events[0], []byte(probeStart))
}
