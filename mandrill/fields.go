package mandrill

import "time"

// fields are the values of an event that routing needs, as they were sent. They are found in one pass.
type fields struct {
	name, list, action                     token
	id, email, subaccount, template, first token // first is the first of the tags
	time                                   time.Time
	test                                   bool
}

// scan finds the fields. It fails if data is not exactly one valid JSON object.
func (f *fields) scan(data []byte) error {
	return wholeObject(data, func(key []byte, at int) (end int, err error) {
		switch string(key) {
		case "event":
			f.name, end, err = scalar(data, at)
		case "type":
			f.list, end, err = scalar(data, at)
		case "action":
			f.action, end, err = scalar(data, at)
		case "_id":
			f.id, end, err = scalar(data, at)
		case "ts":
			if end, err = validValue(data, at); err == nil {
				f.time = timestamp(data[at:end])
			}
		case TestField:
			if end, err = validValue(data, at); err == nil {
				f.test = string(data[at:end]) == "true"
			}
		case "msg": // an object; without a message it is [], null or missing
			end, err = f.scanWith(data, at, f.scanMessage)
		case "reject", "entry": // of a sync event; the reject of a message event has no email
			end, err = f.scanWith(data, at, f.scanEntry)
		default:
			end, err = validValue(data, at)
		}
		return end, err
	})
}

// scanWith calls scan for the members of the object at data[at]. Other values have none.
func (f *fields) scanWith(data []byte, at int, scan func(data, key []byte, at int) (int, error)) (int, error) {
	if at == len(data) || data[at] != '{' {
		return validValue(data, at)
	}
	return object(data, at, func(key []byte, at int) (int, error) { return scan(data, key, at) })
}

func (f *fields) scanMessage(data, key []byte, at int) (end int, err error) {
	var value token
	switch string(key) {
	case "_id":
		if value, end, err = scalar(data, at); f.id.empty() {
			f.id = value
		}
	case "email":
		f.email, end, err = scalar(data, at)
	case "subaccount":
		f.subaccount, end, err = scalar(data, at)
	case "template":
		f.template, end, err = scalar(data, at)
	case "tags":
		f.first, end, err = firstScalar(data, at)
	default:
		end, err = validValue(data, at)
	}
	return end, err
}

func (f *fields) scanEntry(data, key []byte, at int) (end int, err error) {
	into := &f.email
	switch string(key) {
	case "email":
	case "subaccount":
		into = &f.subaccount
	default:
		return validValue(data, at)
	}
	value, end, err := scalar(data, at)
	if !value.empty() {
		*into = value
	}
	return end, err
}

// texts decodes the fields that become texts of an event, which share one piece of memory unless they are long: who keeps one keeps all.
func (f *fields) texts(event *Event) {
	var buffer [512]byte // on the stack, unless the texts are long
	tokens := [...]token{f.id, f.email, f.subaccount, f.template, f.first}
	into := [len(tokens)]*string{&event.MessageID, &event.Email, &event.Subaccount, &event.Template, &event.Tag}
	var ends [len(tokens)]int
	all := buffer[:0]
	for i, value := range tokens {
		all = value.appendText(all)
		ends[i] = len(all)
	}
	long, start := len(all) > len(buffer), 0
	if long {
		for i, end := range ends {
			*into[i], start = string(all[start:end]), end
		}
		return
	}
	for text, i := string(all), 0; i < len(ends); i++ {
		*into[i], start = text[start:ends[i]], ends[i]
	}
}

// token is a string or number of JSON, as it was sent. Other values are nil: they are no text.
type token []byte

func (t token) empty() bool { return len(t) == 0 || string(t) == `""` }

// appendText appends the text of a string, or the digits of a number.
func (t token) appendText(to []byte) []byte {
	if len(t) == 0 || t[0] != '"' {
		return append(to, t...)
	}
	return appendUnquoted(to, t)
}

func (t token) String() string { return string(t.appendText(nil)) }

// name returns the text of a token that is probably one of the names that Mandrill uses, which take no memory.
func (t token) name() string {
	if len(t) >= len(`""`) {
		if known, ok := names[string(t[1:len(t)-1])]; ok && t[0] == '"' {
			return known
		}
	}
	return t.String()
}

var names = func() map[string]string {
	known := map[string]string{}
	for _, name := range []string{
		"send", "delivered", "deferral", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject", "inbound", "add", "change", "remove",
	} {
		known[name] = name
	}
	for name := range syncLists {
		known[name] = name
	}
	return known
}()

// scalar returns the string or number at data[at], or nil for another value, and the index after the value.
func scalar(data []byte, at int) (token, int, error) {
	end, err := validValue(data, at)
	if err != nil || !beginsScalar(data[at]) {
		return nil, end, err
	}
	return data[at:end], end, nil
}

// firstScalar is like scalar for the first element of an array. It takes a value that is not an array as well: PHP may turn a list of one
// into a scalar.
func firstScalar(data []byte, at int) (token, int, error) {
	if at == len(data) || data[at] != '[' {
		return scalar(data, at)
	}
	end, err := validValue(data, at)
	if err != nil {
		return nil, end, err
	}
	first := skipSpace(data, at+1)
	if !beginsScalar(data[first]) {
		return nil, end, nil
	}
	value, _, err := scalar(data, first)
	return value, end, err
}

// beginsScalar reports whether a string or number begins with a byte.
func beginsScalar(c byte) bool { return c == '"' || c == '-' || '0' <= c && c <= '9' }
