package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"agentmeter/internal/tracing"
)

// Mux takes routes. Router is one, and so is what a guard puts around it.
type Mux interface {
	HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request))
	// Signpost takes a sentence on where something is that was added, for whoever
	// comes to the front door.
	Signpost(sentence string)
	http.Handler
}

// Router serves routes by http.ServeMux's patterns, with a trace id, security
// headers, metrics, a debug line, and a problem document for whatever no route
// takes or a handler panics over.
type Router struct {
	mux       *http.ServeMux
	patterns  []string
	signposts []string
	log       *slog.Logger
	metrics   *metrics
	throttle  *throttle
	health    *Health
	tracer    trace.Tracer // nil: nothing is traced
	attempts  *attempts    // nil: they are not limited
}

var _ Mux = (*Router)(nil)

// NewRouter makes an empty router, whose handlers health tells when to drain.
func NewRouter(health *Health, log *slog.Logger, reg prometheus.Registerer) *Router {
	return &Router{
		mux: http.NewServeMux(), log: log, metrics: newMetrics(reg),
		throttle: newThrottle(time.Second), health: health,
	}
}

// Trace makes spans of the requests, within those that they name as parents.
// Call it before anything is served.
func (rt *Router) Trace(provider trace.TracerProvider) { rt.tracer = provider.Tracer(tracing.Scope) }

// HandleFunc adds a route. Patterns name their method. A pattern that is taken
// panics: it is a mistake of the program's.
func (rt *Router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	rt.mux.HandleFunc(pattern, handler)
	rt.patterns = append(rt.patterns, pattern)
}

// Signpost adds a sentence to what / says. It is the same for everybody, and names no
// workspace.
func (rt *Router) Signpost(sentence string) { rt.signposts = append(rt.signposts, sentence) }

// Patterns are the routes that were added, in their order.
func (rt *Router) Patterns() []string { return slices.Clone(rt.patterns) }

// ServeHTTP serves one request.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	x := &exchange{
		traceID: traceIDOf(r), log: rt.log, throttle: rt.throttle,
		metrics: rt.metrics, draining: rt.health.Draining(), attempts: rt.attempts,
	}
	ctx := r.Context()
	var span trace.Span
	if rt.tracer != nil {
		ctx, span = rt.tracer.Start(tracing.FromHTTP(ctx, propagation.HeaderCarrier(r.Header)), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		x.traceID = span.SpanContext().TraceID().String()
	}
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	out := &recorder{ResponseWriter: w, request: r}
	header := w.Header()
	header.Set(TraceHeader, x.traceID)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		header.Set("Strict-Transport-Security", "max-age=31536000")
	}

	rt.metrics.inFlight.Inc()
	defer func() {
		rt.metrics.inFlight.Dec()
		panicked := recover()
		if panicked != nil {
			rt.recovered(out, r, panicked)
		}
		route := r.Pattern
		if route == "" {
			route = "unmatched"
		}
		rt.metrics.observe(route, out.statusSent(), time.Since(began))
		if span != nil {
			endSpan(span, route, r.Method, out.statusSent())
		}
		rt.log.LogAttrs(r.Context(), slog.LevelDebug, "request served", slog.String("route", route),
			slog.Int("status", out.statusSent()), slog.Int64("bytes", out.bytes),
			slog.Duration("took", time.Since(began)), slog.String("trace_id", x.traceID))
		if panicked != nil && out.cutOff {
			panic(http.ErrAbortHandler)
		}
	}()
	if crowded(r) {
		_, r.Pattern = rt.mux.Handler(r)
		refuseConnection(out, r)
		return
	}
	rt.mux.ServeHTTP(out, r)
	if out.withheld != 0 {
		rt.unmatched(out, r)
	}
}

// endSpan names a request's span by its route: paths hold names.
func endSpan(span trace.Span, route, method string, status int) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetName(route)
	span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// unmatched answers in place of ServeMux's plain text.
func (rt *Router) unmatched(out *recorder, r *http.Request) {
	status := out.withheld
	out.withheld = 0
	if status == http.StatusMethodNotAllowed {
		WriteError(out.released(), r, &Problem{
			Status: status, Code: "method_not_allowed",
			Detail: fmt.Sprintf("This resource takes %s.", out.Header().Get("Allow")),
		})
		return
	}
	if r.URL.Path == "/" {
		WriteError(out.released(), r, &Problem{Status: ErrNotFound.Status, Code: ErrNotFound.Code, Detail: strings.Join(append([]string{"There is nothing at /."}, rt.signposts...), " ")})
		return
	}
	WriteError(out.released(), r, ErrNotFound)
}

// recovered turns a handler's panic into a 500, or into a broken connection
// where an answer has begun, so that nobody takes half of it for whole.
func (rt *Router) recovered(out *recorder, r *http.Request, panicked any) {
	err, isError := panicked.(error)
	if isError && errors.Is(err, http.ErrAbortHandler) {
		out.cutOff = true
		return
	}
	if suppressed, ok := rt.throttle.allow("panic", time.Now()); ok {
		rt.log.ErrorContext(r.Context(), "handler panicked", "route", r.Pattern, "trace_id", TraceID(r.Context()),
			"panic", fmt.Sprint(panicked), "stack", string(debug.Stack()), "similar_lines_held_back", suppressed)
	}
	if out.status != 0 {
		out.cutOff = true
		return
	}
	WriteError(out.released(), r, fmt.Errorf("panic: %v", panicked))
}

// recorder notes what a handler sends. It holds ServeMux's own 404 and 405
// back, which alone are written while no pattern has matched.
type recorder struct {
	http.ResponseWriter

	request  *http.Request
	status   int
	bytes    int64
	withheld int  // the status held back
	release  bool // hold nothing back any more
	cutOff   bool
}

func (rec *recorder) released() *recorder {
	rec.release = true
	return rec
}

func (rec *recorder) statusSent() int {
	if rec.status == 0 {
		return http.StatusOK
	}
	return rec.status
}

// WriteHeader implements http.ResponseWriter.
func (rec *recorder) WriteHeader(status int) {
	if rec.withheld != 0 {
		return
	}
	if !rec.release && rec.request.Pattern == "" &&
		(status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		rec.withheld = status
		return
	}
	if status >= http.StatusOK && rec.status == 0 {
		rec.status = status
		if status == statusClientClosed {
			return // nobody is there to receive it
		}
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.withheld != 0 || rec.status == statusClientClosed {
		return len(p), nil
	}
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher, which streaming code asks for by name.
func (rec *recorder) Flush() {
	_ = http.NewResponseController(rec.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// encoder writes JSON as it is: no answer is read as HTML, and what a caller sent
// comes back six times as long where each < is escaped.
func encoder(into *bytes.Buffer) *json.Encoder {
	e := json.NewEncoder(into)
	e.SetEscapeHTML(false)
	return e
}

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	var body bytes.Buffer
	if err := encoder(&body).Encode(v); err != nil {
		WriteError(w, r, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // whoever asked is gone if this fails
}
