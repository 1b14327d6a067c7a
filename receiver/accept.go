package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// accept finds the route and reads the form. What can be refused without the body is refused before it is
// read. HEAD and GET have no form.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request, entry *record) (*Route, mandrill.Form, error) {
	route := h.routes.match(r)
	if route == nil {
		return nil, nil, refuse(KindNoRoute, "no route has this path")
	}
	entry.route = route.Name
	switch r.Method {
	case http.MethodHead, http.MethodGet:
		return route, nil, nil
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return route, nil, refuse(KindMethod, "method is none of GET, HEAD and POST")
	}
	if err := route.admit(r); err != nil {
		return route, nil, err
	}
	body, err := h.readBody(w, r)
	entry.bytes = len(body)
	if err != nil {
		return route, nil, err
	}
	form, err := parseForm(r.Header, body)
	return route, form, err
}

// admit refuses what can be refused before the body is read.
func (r *Route) admit(request *http.Request) error {
	if request.Header.Get(mandrill.SignatureHeader) == "" || !r.admits(request) {
		return refuse(KindSignature, "unsigned, or without the secret part of the URL")
	}
	if r.Suspend {
		return refuse(KindNotReady, "the route is suspended")
	}
	if coding := request.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return refuse(KindUnreadable, "the body has a content encoding, which Mandrill does not use")
	}
	return nil
}

// readBody reads the whole body into one buffer, which is the only copy of it.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.maxBodyBytes {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		return nil, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	size := r.ContentLength + bytes.MinRead // ReadFrom wants room to see the end
	if r.ContentLength < 0 {
		size = firstBuffer
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size))
	_, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, h.maxBodyBytes))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, refuse(KindTooLarge, "the body has more than %d bytes", h.maxBodyBytes)
	}
	if err != nil {
		return nil, &Error{KindAborted, fmt.Errorf("reading the body: %w", err)}
	}
	return buffer.Bytes(), nil
}

func parseForm(header http.Header, body []byte) (mandrill.Form, error) {
	mediaType, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return nil, refuse(KindUnreadable, "the content type cannot be read")
	}
	var form mandrill.Form
	switch mediaType {
	case "application/x-www-form-urlencoded":
		form, err = mandrill.ParseForm(body)
	case "multipart/form-data":
		form, err = mandrill.ParseMultipart(bytes.NewReader(body), parameters["boundary"])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the multipart body is cut short")
		}
	default:
		err = errors.New("the body is no form")
	}
	if err != nil {
		return nil, &Error{KindUnreadable, err}
	}
	return form, nil
}
