package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// Problem is an error that the caller may see. Everything but Cause goes into
// the answer.
type Problem struct { //nolint:errname // the document's name in RFC 9457
	Status int
	// Code is stable and for programs: lower-case words joined by underscores,
	// a constant of the program (it is a metric's label).
	Code   string
	Detail string
	// Errors says what is wrong with which field. At most MaxFieldErrors are sent.
	Errors []schemas.FieldError
	// RetryAfter is sent in whole seconds, rounded up, where it is positive.
	RetryAfter time.Duration
	// Headers are set on the answer, such as WWW-Authenticate.
	Headers map[string]string
	// SuggestedGrain accompanies too_many_bars.
	SuggestedGrain api.Grain
	// Rejected lists a batch's items where none was acceptable.
	Rejected []api.RejectedItem
	// Cause is for the log.
	Cause error
}

// MaxFieldErrors bounds Problem.Errors in an answer.
const MaxFieldErrors = 100

func (p *Problem) Error() string {
	if p.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", p.Code, p.Detail, p.Cause)
	}
	return p.Code + ": " + p.Detail
}

func (p *Problem) Unwrap() error { return p.Cause }

// ErrNotFound is the answer for what is not there and for what is not yours:
// one value, so that the two cannot be told apart.
var ErrNotFound = &Problem{
	Status: http.StatusNotFound, Code: "not_found",
	Detail: "There is no such thing, or it is not yours.",
}

// BadRequest is a 400 about the request as a whole.
func BadRequest(code, detail string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: code, Detail: detail}
}

// InvalidParameter is a 400 about one query parameter.
func InvalidParameter(name, code, detail string) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Code: "parameter_invalid",
		Detail: fmt.Sprintf("The parameter %q %s.", name, detail),
		Errors: []schemas.FieldError{{Field: name, Code: code, Detail: detail}},
	}
}

// TooLarge is a 413.
func TooLarge(code, detail string) *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Code: code, Detail: detail}
}

// Invalid is a 422 about fields of a well-formed body.
func Invalid(faults ...schemas.FieldError) *Problem {
	detail := "The request is well-formed but not acceptable."
	if len(faults) > 0 {
		detail = faults[0].Error() + "."
		if more := len(faults) - 1; more > 0 {
			detail = fmt.Sprintf("%s And %d more, see errors.", detail, more)
		}
	}
	return &Problem{Status: http.StatusUnprocessableEntity, Code: "fields_invalid", Detail: detail, Errors: faults}
}

// Unavailable is a 503 that may be tried again after the given time.
func Unavailable(code, detail string, retryAfter time.Duration, cause error) *Problem {
	return &Problem{
		Status: http.StatusServiceUnavailable, Code: code, Detail: detail,
		RetryAfter: retryAfter, Cause: cause,
	}
}

// statusClientClosed is what the metrics say of a request whose sender went
// away before the answer. Nobody receives it.
const statusClientClosed = 499

// problemOf decides what an error is to the outside. It is the only place that
// does.
func problemOf(ctx context.Context, err error) *Problem {
	var problem *Problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &tooLarge):
		return TooLarge("body_too_large", fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit))
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return &Problem{Status: statusClientClosed, Code: "client_closed", Detail: "The client went away.", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Problem{Status: http.StatusGatewayTimeout, Code: "timeout", Detail: "It took too long. Try again, or ask for less.", Cause: err}
	default:
		return &Problem{Status: http.StatusInternalServerError, Code: "internal_error", Detail: "internal error", Cause: err}
	}
}

// WriteError answers a request with the problem that err is: status, body,
// metric and log line. Nothing of the answer may have been written before.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	problem, traceID := BeginError(w, r, err)
	header := w.Header()
	document := problem.document(traceID)
	var body bytes.Buffer
	if wantsHTML(r) {
		header.Set("Content-Type", "text/html; charset=utf-8")
		if err := problemPage.Execute(&body, document); err != nil {
			panic(fmt.Sprintf("httpapi: render problem page: %v", err)) // a fixed template and plain strings
		}
	} else {
		header.Set("Content-Type", "application/problem+json")
		if err := encoder(&body).Encode(document); err != nil {
			panic(fmt.Sprintf("httpapi: encode problem: %v", err)) // plain strings and numbers
		}
	}
	w.WriteHeader(problem.Status)
	_, _ = w.Write(body.Bytes()) // whoever asked is gone if this fails
}

// BeginError does all of WriteError but the status and the body, for a page that
// says it in its own words: metric, log line and headers.
func BeginError(w http.ResponseWriter, r *http.Request, err error) (problem *Problem, traceID string) {
	ctx := r.Context()
	problem = problemOf(ctx, err)
	if problem.Status == http.StatusUnauthorized {
		if limited := AttemptFailed(r); limited != nil {
			limited.Cause = err
			problem = limited
		}
	}
	if x := exchangeFrom(ctx); x != nil {
		traceID = x.traceID
		x.metrics.problems.WithLabelValues(problem.Code).Inc()
		x.logProblem(r, problem)
	} else {
		traceID = traceIDOf(r)
	}
	header := w.Header()
	for name, value := range problem.Headers {
		header.Set(name, value)
	}
	if problem.RetryAfter > 0 {
		seconds := (problem.RetryAfter + time.Second - 1) / time.Second
		header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	header.Set("Cache-Control", "no-store")
	header.Del("Content-Length")
	header.Del("Content-Encoding")
	header.Del("ETag")
	return problem, traceID
}

func (p *Problem) document(traceID string) api.Problem {
	document := api.Problem{
		Type:     "urn:agentmeter:problem:" + strings.ReplaceAll(p.Code, "_", "-"),
		Title:    http.StatusText(p.Status),
		Status:   p.Status,
		Detail:   p.Detail,
		Instance: "urn:agentmeter:trace:" + traceID,
		Code:     p.Code,
		Errors:   make([]api.FieldProblem, 0, min(len(p.Errors), MaxFieldErrors)),
		TraceID:  traceID,
	}
	for _, fault := range p.Errors[:min(len(p.Errors), MaxFieldErrors)] {
		document.Errors = append(document.Errors, api.FieldProblem{Field: fault.Field, Code: fault.Code, Detail: fault.Detail})
	}
	if p.SuggestedGrain != "" {
		document.SuggestedGrain = &p.SuggestedGrain
	}
	if p.Rejected != nil {
		none := api.ProblemAccepted(0)
		document.Accepted, document.Rejected = &none, &p.Rejected
	}
	return document
}

// logProblem writes one line: faults of ours loudly, load quietly and
// throttled, faults of the caller's only for those who debug.
func (x *exchange) logProblem(r *http.Request, p *Problem) {
	level := slog.LevelDebug
	suppressed := 0
	switch {
	case p.Status == http.StatusInternalServerError:
		level = slog.LevelError
	case p.Status > http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	if level > slog.LevelDebug {
		var ok bool
		if suppressed, ok = x.throttle.allow(p.Code, time.Now()); !ok {
			return
		}
	}
	attrs := []slog.Attr{
		slog.String("route", r.Pattern), slog.Int("status", p.Status), slog.String("code", p.Code),
		slog.String("trace_id", x.traceID),
	}
	if p.Cause != nil {
		attrs = append(attrs, slog.Any("error", p.Cause))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("similar_lines_held_back", suppressed))
	}
	x.log.LogAttrs(r.Context(), level, "request not served", attrs...)
}

// wantsHTML reports whether a browser itself is about to show the answer: on
// the pages it opens, never below /v1.
func wantsHTML(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/v1/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

var problemPage = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>{{.Detail}}</p>
<p>Reference: {{.TraceID}}</p>
</html>
`))
