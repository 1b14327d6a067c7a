package mandrilltest

import "time"

// Event returns an event of a kind that [Kinds] names, for a message and a time, as Mandrill would encode it.
func Event(name, messageID string, at time.Time) ([]byte, error) {
	k, err := kindNamed(name)
	if err != nil {
		return nil, err
	}
	return k.generate(messageID, at), nil
}
