package upstream

import "regexp"

var tooLarge, notFound = regexp.MustCompile(`\b413\b`), regexp.MustCompile(`\b404\b`)

// hint says where to look after an error that Mandrill reports of its last attempt. A proxy that refuses large batches or changes the path
// is named, because neither the sink nor Delivered shows anything of it.
func hint(lastError string) string {
	if tooLarge.MatchString(lastError) {
		return "413 comes from what is in front of the receiver, unless the batch is over --max-body-bytes: let it accept bodies of that size" +
			" (nginx: client_max_body_size, ingress-nginx: proxy-body-size)"
	}
	if notFound.MatchString(lastError) {
		return "404 means that the path does not reach the receiver as it is registered: look whether the ingress strips or rewrites it"
	}
	return "look at Delivered, at the receiver's log and, in Direct mode, at the sink"
}
