package mandrill

// Recipients returns the addresses that an event is for, as Mandrill wrote them: of a message event msg.email, of mail that arrived
// also those of msg.to and msg.cc, of a change of the allowlist or denylist the address on the list. It returns none for an event
// that is not valid JSON. Addresses elsewhere, such as in headers, links or metadata, are not among them.
func Recipients(raw []byte) []string {
	var found []string
	add := func(value []byte) {
		if beginsScalar(value[0]) && !token(value).empty() {
			found = append(found, token(value).String())
		}
	}
	err := members(raw, func(key, value []byte) {
		switch string(key) {
		case "msg":
			_ = members(value, func(key, value []byte) {
				switch string(key) {
				case "email":
					add(value)
				case "to", "cc":
					addAddresses(value, add)
				}
			})
		case "reject", "entry":
			_ = members(value, func(key, value []byte) {
				if string(key) == "email" {
					add(value)
				}
			})
		}
	})
	if err != nil {
		return nil
	}
	return found
}

// addAddresses calls add with the addresses of a list: [["help@example.com", "Help"], ...], or without names.
func addAddresses(list []byte, add func([]byte)) {
	entries, err := SplitBatch(list)
	if err != nil {
		add(list) // PHP may turn a list of one into a scalar
		return
	}
	for _, entry := range entries {
		parts, err := SplitBatch(entry)
		switch {
		case err != nil:
			add(entry)
		case len(parts) > 0:
			add(parts[0])
		}
	}
}
