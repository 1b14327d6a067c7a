package receiver

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// request is an accepted request: the routes that it may be for, its form, and how many bytes of its body were read.
type request struct {
	candidates []*routing.Route
	form       mandrill.Form
	bytes      int
}

// webhook is empty while several routes are possible.
func (r request) webhook() string {
	if len(r.candidates) != 1 {
		return ""
	}
	return r.candidates[0].Name
}

// accept finds the routes that a request may be for and reads the form. What can be refused without the body is refused
// before it is read. HEAD and GET have no form. With an error the request says how far accept came.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, memory *reservation) (accepted request, err error) {
	deadline := newBodyDeadline(w, h.inflight)
	defer func() {
		if err != nil {
			deadline.shortenForRefusal()
		}
	}()
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// It may have had a length too, by which a proxy in front sees another end. What follows on the connection would
		// then be answered in the place of somebody else's request.
		w.Header().Set("Connection", "close")
	}
	confirmed := h.routes.Confirmed() // before Match, or routes may be loaded in between
	accepted.candidates = h.routes.Match(r)
	if len(accepted.candidates) == 0 && !confirmed { // 404 would say that no webhook has the path
		return accepted, refuse(KindNotReady, "not all routes have been loaded yet")
	}
	if len(accepted.candidates) == 0 {
		h.advisePath(r)
		return accepted, refuse(KindNoRoute, "no route has this path")
	}
	switch r.Method {
	case http.MethodHead, http.MethodGet:
		if !slices.ContainsFunc(accepted.candidates, func(route *routing.Route) bool { return !h.lacksBuffer(route) }) {
			return accepted, errNoBuffer // so that no webhook is registered that cannot be served
		}
		return accepted, nil
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return accepted, refuse(KindMethod, "method is none of GET, HEAD and POST")
	}
	admitted, err := h.admit(r, accepted)
	if err != nil {
		return accepted, err
	}
	accepted.candidates = admitted
	accepted.form, accepted.bytes, err = h.readForm(w, r, memory, deadline)
	return accepted, err
}

// admit returns the routes that a request may be for, as far as can be told without the body.
func (h *Handler) admit(r *http.Request, accepted request) ([]*routing.Route, error) {
	if r.Header.Get(mandrill.SignatureHeader) == "" {
		return nil, refuse(KindSignature, "the request has no signature")
	}
	var admitted []*routing.Route
	lack, suspended := routing.LacksNothing, false
	for _, route := range accepted.candidates {
		if len(admitted) == maxCandidates {
			break
		}
		if lacking := route.Lacks(r); lacking != routing.LacksNothing {
			lack = lacking
			continue
		}
		admitted = append(admitted, route)
		suspended = route.Suspend && (suspended || len(admitted) == 1)
	}
	if len(admitted) == 0 {
		h.advice.advise(r.Context(), lacks[lack].advice, "webhook", accepted.webhook())
		return nil, refuse(KindSignature, "%s", lacks[lack].cause)
	}
	if suspended { // all of them
		return nil, errSuspended
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, refuse(KindUnreadable, "the body has a content encoding, which Mandrill does not use")
	}
	return admitted, nil
}

// readForm reads the body and returns its form, and how many bytes arrived.
func (h *Handler) readForm(w http.ResponseWriter, r *http.Request, memory *reservation, deadline *bodyDeadline) (mandrill.Form, int, error) {
	if r.ContentLength > h.maxBodyBytes {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		return nil, 0, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, 0, refuse(KindUnreadable, "the content type cannot be parsed")
	}
	reader := &bodyReader{
		reader: http.MaxBytesReader(w, r.Body, h.maxBodyBytes), announced: r.ContentLength, limit: h.maxBodyBytes, memory: memory, deadline: deadline,
		parsing: h.parsing,
	}
	var form mandrill.Form
	switch mediaType {
	case "application/x-www-form-urlencoded":
		form, err = h.readURLEncoded(w, r, reader)
	case "multipart/form-data":
		form, err = h.readMultipart(w, r, reader, parameters["boundary"])
	default:
		err = refuse(KindUnreadable, "the body is not a form: want application/x-www-form-urlencoded or multipart/form-data")
	}
	return form, int(reader.arrived), err
}

// readURLEncoded decodes the body while it arrives.
func (h *Handler) readURLEncoded(w http.ResponseWriter, r *http.Request, reader *bodyReader) (mandrill.Form, error) {
	reader.form = &mandrill.FormDecoder{}
	body, err := h.readBody(w, r, reader)
	if err != nil {
		return nil, err
	}
	form, err := reader.form.Form(body)
	if err != nil {
		return nil, &Error{KindUnreadable, err}
	}
	return form, nil
}

// readBody reads the whole body into one buffer, which is the only copy of it.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, reader *bodyReader) ([]byte, error) {
	body, err := reader.readAll(r.Context())
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	if errors.Is(err, errBusy) && r.Context().Err() == nil {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		w.Header().Set("Retry-After", retryAfter)
		return nil, err
	}
	if err != nil { // its text has addresses
		return nil, refuse(KindAborted, "the body ended early")
	}
	return body, nil
}

// readMultipart reads the body, and then copies its parts.
func (h *Handler) readMultipart(w http.ResponseWriter, r *http.Request, reader *bodyReader, boundary string) (mandrill.Form, error) {
	body, err := h.readBody(w, r, reader)
	if err != nil {
		return nil, err
	}
	if err := reader.memory.grow(r.Context(), int64(len(body))); err != nil {
		return nil, err
	}
	release := h.parsing.acquire(len(body))
	defer release()
	form, err := mandrill.ParseMultipart(bytes.NewReader(body), boundary)
	if err != nil {
		return nil, &Error{KindUnreadable, safeMultipartError(err)}
	}
	return form, nil
}

// safeMultipartError replaces errors that may quote the body by fixed texts.
func safeMultipartError(err error) error {
	for _, known := range []error{mandrill.ErrRepeatedName, mandrill.ErrTooManyNames, mandrill.ErrFilePart} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the multipart body is truncated")
	}
	return errors.New("the multipart body cannot be parsed")
}
