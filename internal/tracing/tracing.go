package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// Scope is the instrumentation scope of every span.
const Scope = "agentmeter"

// Config says where traces go. The zero value is off.
type Config struct {
	// Endpoint is the address of a collector that takes OTLP over HTTP; empty:
	// nothing is traced. Without a path it is that of the standard, /v1/traces.
	Endpoint string
	// Sample is which part of the requests is traced, from 0 to 1. It is decided
	// by the trace id, so that each process decides alike.
	Sample float64
	// Service and Version are what the spans are told to be of.
	Service, Version string
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var faults []error
	if at, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || at.Host == "" || (at.Scheme != "http" && at.Scheme != "https") || at.User != nil) {
		faults = append(faults, errors.New("--trace-endpoint: write it as http://HOST:PORT or https://HOST:PORT, without a user"))
	}
	if !(c.Sample >= 0 && c.Sample <= 1) {
		faults = append(faults, fmt.Errorf("--trace-sample: %v is not between 0 (none) and 1 (every request)", c.Sample))
	}
	return errors.Join(faults...)
}

const (
	// What waits to be sent is bounded; more is dropped, so that a collector that
	// is slow or gone costs traces and nothing else.
	queueSpans   = 2048
	closeTimeout = 3 * time.Second
)

// Start makes the provider of spans, and what sends the last of them and ends
// it. Nothing is connected to before the first span is sent. A collector that
// fails is a line in the log.
func Start(ctx context.Context, config Config, log *slog.Logger) (trace.TracerProvider, func() error, error) {
	if err := config.Validate(); err != nil {
		return nil, nil, err
	}
	at, err := url.Parse(config.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("trace endpoint: %w", err)
	}
	if at.Path == "" || at.Path == "/" {
		at.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(at.String()))
	if err != nil {
		return nil, nil, fmt.Errorf("trace exporter: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces not sent; nothing else is concerned", "error", err)
	}))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(queueSpans)),
		sdk.WithSampler(sampler(config.Sample)),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", config.Service), attribute.String("service.version", config.Version))),
	)
	return provider, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.WarnContext(ctx, "the last traces were not sent", "error", err)
		}
		return nil
	}, nil
}

// maxTraces is how many requests a second begin to be traced at most. The share that
// is sampled goes by the trace id, so that a caller that samples by it, too, finds
// its own; but callers choose their ids, and could have each of their requests traced.
const maxTraces = 100

// sampler decides by the trace id at the entry, whatever the caller has decided, and
// goes by that within the process.
func sampler(share float64) sdk.Sampler {
	entry := &boundedSampler{Sampler: sdk.TraceIDRatioBased(share), limiter: rate.NewLimiter(maxTraces, maxTraces)}
	return sdk.ParentBased(entry, sdk.WithRemoteParentSampled(entry), sdk.WithRemoteParentNotSampled(entry))
}

// boundedSampler is another one, up to a number of spans a second.
type boundedSampler struct {
	sdk.Sampler

	limiter *rate.Limiter
}

// ShouldSample implements sdk.Sampler.
func (s *boundedSampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	result := s.Sampler.ShouldSample(p)
	if result.Decision == sdk.RecordAndSample && !s.limiter.Allow() {
		result.Decision = sdk.Drop
	}
	return result
}

var w3c = propagation.TraceContext{}

// FromHTTP is ctx with the span that a request's traceparent names as parent.
func FromHTTP(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	return w3c.Extract(ctx, carrier)
}

// header is the name of the record header and of the HTTP one.
const header = "traceparent"

// Mark writes into the headers of records which span sent them. Records of
// requests that are not traced stay as they are.
func Mark(ctx context.Context, records []kgo.Record) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	headers := []kgo.RecordHeader{{Key: header, Value: []byte(carrier[header])}}
	for i := range records {
		records[i].Headers = headers
	}
}

// Senders are the spans that sent records, each once, as far as they are being
// traced.
type Senders struct{ spans []trace.SpanContext }

// maxSenders bounds the spans that one block of records is shown in.
const maxSenders = 32

// Note adds the sender of a record.
func (s *Senders) Note(record *kgo.Record) {
	if len(record.Headers) == 0 || len(s.spans) == maxSenders {
		return
	}
	for _, h := range record.Headers {
		if h.Key != header {
			continue
		}
		ctx := w3c.Extract(context.Background(), propagation.MapCarrier{header: string(h.Value)})
		span := trace.SpanContextFromContext(ctx)
		if span.IsSampled() && !slices.ContainsFunc(s.spans, span.Equal) {
			s.spans = append(s.spans, span)
		}
		return
	}
}

// Spans are the senders' spans, in the order of their records.
func (s *Senders) Spans() []trace.SpanContext { return s.spans }

// Child begins a span within the one that ctx is in, or nothing at all where
// that is not traced. end takes what went wrong, if anything.
func Child(ctx context.Context, kind trace.SpanKind, name string, attributes ...attribute.KeyValue) (_ context.Context, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attributes...))
	return ctx, func(err error) { finish(span, err) }
}

// Counting begins a span within each sender's, for a block that has records of
// theirs. What ctx brings forth is shown in the first; the others name that one.
func Counting(ctx context.Context, provider trace.TracerProvider, senders []trace.SpanContext, attributes ...attribute.KeyValue) (_ context.Context, end func(error)) {
	tracer := provider.Tracer(Scope)
	spans := make([]trace.Span, 0, len(senders))
	into := ctx
	for i, sender := range senders {
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
		if i > 0 {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: spans[0].SpanContext()}))
		}
		within, span := tracer.Start(trace.ContextWithRemoteSpanContext(ctx, sender), "count", options...)
		if i == 0 {
			into = within
		}
		spans = append(spans, span)
	}
	return into, func(err error) {
		for _, span := range spans {
			finish(span, err)
		}
	}
}

func finish(span trace.Span, err error) {
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		span.SetStatus(codes.Error, "took too long")
	case errors.Is(err, context.Canceled):
		span.SetStatus(codes.Error, "was given up")
	default: // errors quote values, which are in no trace
		span.SetStatus(codes.Error, "failed; the log says how")
	}
	span.End()
}

// ToHTTP says in a request's headers which span it is of, where that is traced.
func ToHTTP(ctx context.Context, carrier propagation.TextMapCarrier) {
	if trace.SpanContextFromContext(ctx).IsSampled() {
		w3c.Inject(ctx, carrier)
	}
}
