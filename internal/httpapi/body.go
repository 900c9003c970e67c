package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"agentmeter/schemas"
)

// ErrNoBody is what ReadBody and ReadJSON return for a request without one. It is a 400
// where a body is needed.
var ErrNoBody = &Problem{Status: http.StatusBadRequest, Code: "body_missing", Detail: "The request has no body."}

// ReadBody reads the small JSON body of a request: application/json, not
// compressed, at most maxBytes.
func ReadBody(w http.ResponseWriter, r *http.Request, maxBytes int64) ([]byte, error) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, ErrNoBody
	}
	if err := RequireMediaType(r, "application/json"); err != nil {
		return nil, err
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, UnsupportedMediaType("encoding_unsupported", "This operation takes no Content-Encoding.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if err != nil {
		return nil, ReadError(err)
	}
	if len(body) == 0 {
		return nil, ErrNoBody
	}
	return body, nil
}

// ReadJSON reads a body into v, strictly: one JSON value without duplicate or
// unknown members. Null is no document: it says nothing, where an empty object
// says that everything is left out.
func ReadJSON(w http.ResponseWriter, r *http.Request, maxBytes int64, v any) error {
	body, err := ReadBody(w, r, maxBytes)
	if err != nil {
		return err
	}
	err = json.Unmarshal(body, v, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil && jsontext.Value(body).Kind() != jsontext.KindNull:
		return nil
	case err == nil:
		return Invalid(schemas.FieldError{Field: "", Code: "field_invalid", Detail: "has the wrong type"})
	case errors.As(err, &semantic):
		field := strings.TrimPrefix(string(semantic.JSONPointer), "/")
		if errors.Is(err, json.ErrUnknownName) {
			return Invalid(schemas.FieldError{Field: field, Code: "field_unknown", Detail: "is not a member of this document"})
		}
		return Invalid(schemas.FieldError{Field: field, Code: "field_invalid", Detail: "has the wrong type"})
	default:
		return InvalidJSON(err)
	}
}

// InvalidJSON is a 400 for bytes that are no JSON document.
func InvalidJSON(err error) *Problem {
	detail := "The body is not one well-formed JSON document."
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		detail = fmt.Sprintf("The body is not one well-formed JSON document: byte %d: %v.", syntactic.ByteOffset, syntactic.Err)
	}
	return &Problem{Status: http.StatusBadRequest, Code: "json_invalid", Detail: detail, Cause: err}
}

// ReadError is the problem of a body that could not be read to its end.
func ReadError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return &Problem{
		Status: http.StatusBadRequest, Code: "body_incomplete",
		Detail: "The body ended before it was complete.", Cause: err,
	}
}

// UnsupportedMediaType is a 415.
func UnsupportedMediaType(code, detail string) *Problem {
	return &Problem{Status: http.StatusUnsupportedMediaType, Code: code, Detail: detail}
}

// MediaType is the request's media type in lower case. Another charset than
// UTF-8 is refused.
func MediaType(r *http.Request) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", UnsupportedMediaType("media_type_missing", "The request has no Content-Type.")
	}
	mediaType, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", UnsupportedMediaType("media_type_invalid", "The Content-Type cannot be read.")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", UnsupportedMediaType("charset_unsupported", "The only charset is UTF-8.")
	}
	return mediaType, nil
}

// RequireMediaType refuses every media type but one.
func RequireMediaType(r *http.Request, want string) error {
	mediaType, err := MediaType(r)
	if err != nil {
		return err
	}
	if mediaType != want {
		return UnsupportedMediaType("media_type_unsupported", fmt.Sprintf("This operation takes %s.", want))
	}
	return nil
}
