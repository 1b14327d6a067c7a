package receiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// accept finds the routes that may be meant and reads the form. What can be refused without the body is refused
// before it is read. HEAD and GET have no form.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, entry *requestLog) (_ []*Route, _ mandrill.Form, err error) {
	sender := newBodyDeadline(w, h.inflight)
	defer func() {
		if err != nil {
			sender.shortenForRefusal()
		}
	}()
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// It may have had a length too, by which a proxy in front sees another end. What follows on the connection
		// would then be answered in the place of somebody else's request.
		w.Header().Set("Connection", "close")
	}
	ready := h.routes.Ready() // before it is looked, or they may be loaded in between
	candidates := h.routes.match(r)
	if len(candidates) == 0 && r.Method == http.MethodPost && !ready {
		return nil, nil, refuse(KindNotReady, "no routes have been loaded yet")
	}
	if len(candidates) == 0 {
		return nil, nil, refuse(KindNoRoute, "no route has this path")
	}
	if len(candidates) == 1 {
		entry.route = candidates[0].Name
	}
	switch r.Method {
	case http.MethodHead, http.MethodGet:
		if !slices.ContainsFunc(candidates, func(route *Route) bool { return !h.lacksBuffer(route) }) {
			return nil, nil, errNoBuffer // so that nothing is registered that cannot be served
		}
		return nil, nil, nil
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return nil, nil, refuse(KindMethod, "method is none of GET, HEAD and POST")
	}
	candidates, err = admit(r, candidates)
	if err != nil {
		return nil, nil, err
	}
	body, err := h.readBody(w, r, &entry.share, sender)
	entry.bytes = len(body)
	if err != nil {
		return nil, nil, err
	}
	form, err := h.parseForm(r, body, &entry.share)
	return candidates, form, err
}

// admit returns the routes that the request may be for, as far as can be told without the body.
func admit(r *http.Request, candidates []*Route) ([]*Route, error) {
	var admitted []*Route
	suspended := false
	for _, route := range candidates {
		if route.admits(r) {
			admitted = append(admitted, route)
			suspended = route.Suspend && (suspended || len(admitted) == 1)
		}
	}
	if r.Header.Get(mandrill.SignatureHeader) == "" || len(admitted) == 0 {
		return nil, refuse(KindSignature, "unsigned, or without the secret part of the URL")
	}
	if suspended { // all of them
		return nil, errSuspended
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, refuse(KindUnreadable, "the body has a content encoding, which Mandrill does not use")
	}
	return admitted, nil
}

// readBody reads the whole body into one buffer, which is the only copy of it. With an error it returns what has come.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, held *reservation, sender *bodyDeadline) ([]byte, error) {
	if r.ContentLength > h.maxBodyBytes {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		return nil, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	body, err := h.readAll(r.Context(), http.MaxBytesReader(w, r.Body, h.maxBodyBytes), r.ContentLength, held, sender)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return body, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	if errors.Is(err, errBusy) && r.Context().Err() == nil {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		w.Header().Set("Retry-After", retryAfter)
		return body, err
	}
	if err != nil { // its text has addresses
		return body, refuse(KindAborted, "the body did not come to its end")
	}
	return body, nil
}

// readAll reads to the end into one buffer, and takes a share of the memory before it grows. It gives the buffer the
// announced length only when a quarter of it has come, so that an announcement alone costs next to nothing. Whoever is
// given a buffer has to fill it in time.
func (h *Handler) readAll(ctx context.Context, reader io.Reader, announced int64, held *reservation, sender *bodyDeadline) ([]byte, error) {
	var body []byte
	for {
		if len(body) == cap(body) {
			before, after := int64(cap(body)), min(max(firstBuffer, 2*int64(cap(body))), h.maxBodyBytes+1) // one byte to see the end
			if room := announced + 1; announced > 0 && room > before && room <= 2*after {
				after = room
			}
			sender.suspend()
			if err := held.grow(ctx, after); err != nil {
				return body, err
			}
			body = append(make([]byte, 0, after), body...)
			held.shrink(before)
			sender.extend(after - before)
		}
		n, err := reader.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

func (h *Handler) parseForm(r *http.Request, body []byte, held *reservation) (mandrill.Form, error) {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, refuse(KindUnreadable, "the content type cannot be read")
	}
	var form mandrill.Form
	switch mediaType {
	case "application/x-www-form-urlencoded":
		h.parsing.do(len(body), func() { form, err = mandrill.ParseForm(body) })
	case "multipart/form-data":
		if err := held.grow(r.Context(), int64(len(body))); err != nil { // its parts are copied
			return nil, err
		}
		h.parsing.do(len(body), func() { form, err = mandrill.ParseMultipart(bytes.NewReader(body), parameters["boundary"]) })
		err = safeMultipartError(err)
	default:
		err = errors.New("the body is no form")
	}
	if err != nil {
		return nil, &Error{KindUnreadable, err}
	}
	return form, nil
}

// unquoted leaves of an error about a multipart body what quotes nothing of it.
func safeMultipartError(err error) error {
	for _, known := range []error{nil, mandrill.ErrRepeatedName, mandrill.ErrTooManyNames, mandrill.ErrFilePart} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the multipart body is cut short")
	}
	return errors.New("the multipart body cannot be read")
}
