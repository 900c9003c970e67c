package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"agentmeter/schemas/api"
)

// Problem is an answer other than the one that was asked for: the problem
// document (RFC 9457) with its Status, stable Code, Type, Detail, field Errors and
// TraceID. Where something in between answered instead of Agentmeter, only Status
// and Detail are set. It is returned as it is where sending the same again would
// not change it, and inside a GaveUpError where it was tried until the end.
type Problem struct { //nolint:errname // it is what RFC 9457 calls it
	api.Problem
	// URL is what was asked, without its parameters.
	URL string
	// RetryAfter is how long the server asks to wait; zero where it does not say.
	RetryAfter time.Duration
}

// fieldsInText is how many of Errors the text of an error has at most.
const fieldsInText = 3

func (p *Problem) Error() string {
	text := fmt.Sprintf("%s answered %d %s", p.URL, p.Status, http.StatusText(p.Status))
	if p.Code != "" {
		text += " (" + p.Code + ")"
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for i, field := range p.Errors {
		if i == fieldsInText {
			text += fmt.Sprintf("; and %d more", len(p.Errors)-i)
			break
		}
		text += "; " + field.Field + ": " + field.Detail
	}
	if p.TraceID != "" {
		text += " (reference " + p.TraceID + ")"
	}
	return text
}

// ErrAnswer is the root of errors about an answer that is not what the contract
// says. Such an answer is not believed, and not asked for again.
var ErrAnswer = errors.New("answer not understood")

// maxAnswerBytes bounds an answer that is held whole: 10,000 rejected items with
// long details.
const maxAnswerBytes = 64 << 20

// readAnswer reads an answer whole. A broken connection is an error here, so
// that half an answer is never taken for one.
func readAnswer(body io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, maxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxAnswerBytes {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrAnswer, maxAnswerBytes)
	}
	return content, nil
}

// refused makes a Problem of an answer with another status than was asked for.
func refused(a *answer) error {
	url := *a.url
	url.RawQuery = ""
	p := &Problem{URL: url.String(), RetryAfter: retryAfter(a.header.Get("Retry-After"), time.Now())}
	mediaType, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	// What stands in between may repeat a request's headers in its error page.
	if mediaType != "application/problem+json" || json.Unmarshal(a.at.redact(a.content), &p.Problem) != nil {
		p.Problem = api.Problem{}
		if to := a.header.Get("Location"); to != "" {
			p.Detail = "it redirects to " + string(a.at.redact([]byte(to))) + "; give that address"
		} else if a.status < http.StatusBadRequest {
			p.Detail = "that is not what Agentmeter answers; check the address"
		}
	}
	p.Status = a.status
	return p
}

// redact takes the token out of what is about to stand in an error. One of a few
// letters is no secret, and texts have it by accident.
func (a address) redact(text []byte) []byte {
	if len(a.token) < 8 {
		return text
	}
	return bytes.ReplaceAll(text, []byte(a.token), []byte("[token]"))
}

// answers makes the take of an operation whose good answer has one status and a
// JSON body.
func answers[T any](status int, into *T) func(*answer) error {
	return func(a *answer) error {
		if a.status != status {
			return refused(a)
		}
		return decode(a.content, into)
	}
}

func decode[T any](content []byte, into *T) error {
	var value T
	if err := json.Unmarshal(content, &value); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	*into = value
	return nil
}
