package tracing

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func sampling(t *testing.T, part float64) (trace.Tracer, *tracetest.SpanRecorder, trace.TracerProvider) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.TraceIDRatioBased(part)), sdk.WithSpanProcessor(recorder))
	return provider.Tracer("test"), recorder, provider
}

func TestRecordsOfUntracedRequestsStayAsTheyAre(t *testing.T) {
	tracer, _, _ := sampling(t, 0)
	untraced, span := tracer.Start(t.Context(), "request")
	defer span.End()
	for name, ctx := range map[string]context.Context{"off": t.Context(), "not sampled": untraced} {
		records := make([]kgo.Record, 2)
		Mark(ctx, records)
		if len(records[0].Headers)+len(records[1].Headers) != 0 {
			t.Errorf("%s: %v", name, records[0].Headers)
		}
	}
}

func TestSendersAreFoundOnceEachAndBounded(t *testing.T) {
	tracer, _, _ := sampling(t, 1)
	var senders Senders
	senders.Note(&kgo.Record{})
	senders.Note(&kgo.Record{Headers: []kgo.RecordHeader{{Key: "other", Value: []byte("x")}, {Key: header, Value: []byte("rubbish")}}})
	unsampled := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	senders.Note(&kgo.Record{Headers: []kgo.RecordHeader{{Key: header, Value: []byte(unsampled)}}})
	if got := len(senders.Spans()); got != 0 {
		t.Fatalf("%d senders where none is traced", got)
	}
	for range maxSenders + 5 {
		ctx, span := tracer.Start(t.Context(), "request")
		records := make([]kgo.Record, 3)
		Mark(ctx, records)
		for i := range records {
			senders.Note(&records[i])
		}
		if last := senders.Spans()[len(senders.Spans())-1]; len(senders.Spans()) < maxSenders && last.SpanID() != span.SpanContext().SpanID() {
			t.Error("the sender is not the span that marked the records")
		}
		span.End()
	}
	if got := len(senders.Spans()); got != maxSenders {
		t.Errorf("%d senders, want %d at most", got, maxSenders)
	}
}

// A block that holds records of several requests is in the trace of each.
func TestABlockIsInEachSendersTrace(t *testing.T) {
	tracer, recorder, provider := sampling(t, 1)
	var senders []trace.SpanContext
	for range 3 {
		_, span := tracer.Start(t.Context(), "request")
		senders = append(senders, span.SpanContext())
	}
	ctx, end := Counting(t.Context(), provider, senders)
	_, endInsert := Child(ctx, trace.SpanKindClient, "INSERT")
	endInsert(nil)
	end(context.DeadlineExceeded)
	ended := recorder.Ended()
	if len(ended) != 4 {
		t.Fatalf("%d spans ended, want the insert and three counts", len(ended))
	}
	insert, first := ended[0], ended[1]
	if insert.Parent().SpanID() != first.SpanContext().SpanID() {
		t.Error("the insert is not within the first count")
	}
	for i, count := range ended[1:] {
		if count.Parent().SpanID() != senders[i].SpanID() || count.SpanContext().TraceID() != senders[i].TraceID() {
			t.Errorf("count %d is not within its sender's span", i)
		}
		if i > 0 && (len(count.Links()) != 1 || count.Links()[0].SpanContext.SpanID() != first.SpanContext().SpanID()) {
			t.Errorf("count %d does not lead to the one that shows the insert", i)
		}
		if count.Status().Description == "" {
			t.Errorf("count %d does not tell what went wrong", i)
		}
	}
}

func TestFaultsOfTheConfigurationAreNamed(t *testing.T) {
	for _, bad := range []Config{
		{Endpoint: "collector:4318", Sample: 1},
		{Endpoint: "http://user:secret@collector:4318", Sample: 1},
		{Endpoint: "grpc://collector:4317", Sample: 1},
		{Endpoint: "http://collector:4318", Sample: 1.5},
		{Endpoint: "http://collector:4318", Sample: -0.1},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	for _, good := range []Config{{}, {Endpoint: "https://collector:4318", Sample: 0.01}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}
