package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"agentmeter/internal/slowtest"
)

// collected are the spans that a collector was sent.
type collected struct {
	mu    sync.Mutex // guards spans
	spans []*otlp.Span
}

// collect is a collector that takes OTLP over HTTP.
func collect(t *testing.T) (*httptest.Server, *collected) {
	c := &collected{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
			http.Error(w, "not a trace", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range sent.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	return server, c
}

// of returns the spans of a trace by their name. Several of one name, as tries
// of an insert may be, are told apart by number.
func (c *collected) of(traceID string) map[string]*otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := make(map[string]*otlp.Span)
	for _, span := range c.spans {
		if hex.EncodeToString(span.TraceId) != traceID {
			continue
		}
		name := span.Name
		for n := 2; spans[name] != nil; n++ {
			name = fmt.Sprintf("%s %d", span.Name, n)
		}
		spans[name] = span
	}
	return spans
}

// One trace leads from a caller's own span to the insert that made its event
// count, through Kafka, and a collector that is gone costs nothing else.
func TestATraceLeadsFromTheRequestToTheInsert(t *testing.T) {
	slowtest.Begin(t)
	const (
		traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
		parent  = "00f067aa0ba902b7"
	)
	server, collected := collect(t)
	i := runOn(t, t.TempDir(), "--trace-endpoint", server.URL, "--trace-sample", "1")
	token := i.token("ws_seen", "events:write,usage:read")
	post := func(id string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.endpoints.HTTP+"/v1/events",
			strings.NewReader(`{"id":"`+id+`","workspace_id":"ws_seen","agent_id":"agt","occurred_at":"`+nowText()+`","channel":"embed","credits":"1.5"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Traceparent", "00-"+traceID+"-"+parent+"-00") // the caller does not trace; we do
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusAccepted || response.Header.Get("Trace-Id") != traceID {
			t.Fatalf("answered %s of trace %q", response.Status, response.Header.Get("Trace-Id"))
		}
	}
	post("traced")
	chain := []string{"POST /v1/events", "produce", "count", "INSERT"}
	i.waitFor("a trace of the whole way", 30*time.Second, func() error {
		spans := collected.of(traceID)
		for _, name := range chain {
			if spans[name] == nil {
				return notYetError{fmt.Sprintf("no span %q among %d", name, len(spans))}
			}
		}
		return nil
	})
	spans := collected.of(traceID)
	above := parent
	for _, name := range chain {
		span := spans[name]
		if got := hex.EncodeToString(span.ParentSpanId); got != above {
			t.Errorf("%s is within span %s, want %s", name, got, above)
		}
		if span.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR {
			t.Errorf("%s failed: %s", name, span.Status.GetMessage())
		}
		above = hex.EncodeToString(span.SpanId)
		for _, attribute := range span.Attributes { // who used what is in no trace
			if strings.Contains(attribute.GetValue().GetStringValue(), "ws_seen") {
				t.Errorf("%s tells of a workspace: %v", name, attribute)
			}
		}
	}
	if produced, counted := spans["produce"], spans["count"]; counted.StartTimeUnixNano < produced.StartTimeUnixNano {
		t.Error("it was counted before it was sent")
	}

	server.Close()
	post("untold")
	i.waitFor("an event to count that no collector hears of", 30*time.Second, func() error {
		if got := readDashboard(t, i.endpoints.HTTP, token, "ws_seen", "range=7d").Summary.Credits; got != "3" {
			return notYetError{"credits " + got}
		}
		return nil
	})
	i.stop()
}
