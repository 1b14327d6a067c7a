package registration

import "regexp"

var tooLarge = regexp.MustCompile(`\b413\b`)

// Hint says where to look after an error that Mandrill reports of its last attempt. A proxy that refuses large batches is named, because
// neither the receiver nor the sink sees anything of them.
func Hint(lastError string) string {
	if tooLarge.MatchString(lastError) {
		return "413 comes from what is in front of the receiver, unless the batch is over --max-body-bytes: let it accept bodies of that size" +
			" (nginx: client_max_body_size, ingress-nginx: proxy-body-size)"
	}
	return "look at the sink, and at the receiver's log and metrics"
}
