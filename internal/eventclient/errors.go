package eventclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// RefusedError is an answer that sending the same again would not change, or
// one of 429 and 5xx that stayed until the client gave up (then inside a
// GaveUpError).
type RefusedError struct {
	URL     string
	Status  int
	Code    string // of the problem document, "" if the answer was none
	Detail  string
	TraceID string

	retryAfter time.Duration
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%s answered %d %s", e.URL, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.TraceID != "" {
		text += " (reference " + e.TraceID + ")"
	}
	return text
}

// GaveUpError is returned when a request could not be completed within
// Config.RetryFor. Nothing is known about its items: send them again later.
type GaveUpError struct {
	Tried time.Duration
	Last  error
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("gave up after %s: %v", e.Tried.Round(100*time.Millisecond), e.Last)
}

func (e *GaveUpError) Unwrap() error { return e.Last }

// ErrAnswer is the root of errors about an answer that is not what the
// contract says. Such an answer is not believed, and not asked for again.
var ErrAnswer = errors.New("answer not understood")

// errAttemptTimeout is the cause with which one attempt is given up.
var errAttemptTimeout = errors.New("no answer in time")

// retryable decides whether the same request may succeed later. It is the only
// place that does.
func retryable(err error) bool {
	var refused *RefusedError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &refused):
		return refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusRequestTimeout || refused.Status >= 500
	case errors.Is(err, ErrAnswer):
		return false
	case errors.As(err, &certificate):
		return false // it would not become valid within minutes
	default:
		// Whatever else can happen between sending a request and having read
		// its answer is the network's or a restart's doing.
		return true
	}
}
