package tracing

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A caller that chooses ids which are sampled has no more traced than there may be.
func TestCallersCannotHaveEverythingTraced(t *testing.T) {
	s := sampler(0.01)
	chosen := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{1}, Remote: true, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), chosen)
	sampled := 0
	const asked = 20 * maxTraces
	for range asked {
		if s.ShouldSample(sdk.SamplingParameters{ParentContext: ctx, TraceID: chosen.TraceID()}).Decision == sdk.RecordAndSample {
			sampled++
		}
	}
	if sampled < maxTraces || sampled > 2*maxTraces {
		t.Errorf("of %d requests %d are traced, want about %d", asked, sampled, maxTraces)
	}
	// Within the process a span goes by the one that it is in.
	local := trace.ContextWithSpanContext(t.Context(), chosen.WithRemote(false))
	for range 3 * maxTraces {
		if s.ShouldSample(sdk.SamplingParameters{ParentContext: local, TraceID: chosen.TraceID()}).Decision != sdk.RecordAndSample {
			t.Fatal("a trace is cut off in the middle")
		}
	}
}
