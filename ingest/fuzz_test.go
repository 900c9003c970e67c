package ingest

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/schemas"
)

// decodeFuzzed decodes a body under small limits and checks what must hold of
// any batch, whatever the bytes are.
func decodeFuzzed(t *testing.T, mediaType string, body []byte) (*batch, error) {
	t.Helper()
	in := bareIngest()
	in.config.MaxEventBytes, in.config.MaxEvents = 4<<10, 50
	sent, body := body, bytes.Clone(body)
	b := in.newBatch(auth.WithAccess(t.Context(), auth.Access{Workspace: "ws_acme", Scopes: []auth.Scope{auth.EventsWrite, auth.EventsImport}}))
	defer b.release()
	err := decoders[mediaType].decode(body, b)
	if !bytes.Equal(sent, body) {
		t.Fatal("the body was written to")
	}
	// Everything that outlives the decoding must be a copy.
	clear(body)
	if err == nil && b.items != len(b.records)+len(b.rejected) {
		t.Fatalf("%d items, %d accepted, %d rejected", b.items, len(b.records), len(b.rejected))
	}
	if b.items > in.config.MaxEvents {
		t.Fatalf("%d items", b.items)
	}
	last := -1
	for _, item := range b.rejected {
		if item.Index <= last || item.Index >= b.items || item.Code == "" || item.Detail == "" {
			t.Fatalf("rejected item %+v after %d of %d", item, last, b.items)
		}
		last = item.Index
		if !utf8.ValidString(item.Detail) || (item.ID != nil && (!utf8.ValidString(*item.ID) || utf8.RuneCountInString(*item.ID) > schemas.MaxIDRunes)) {
			t.Fatalf("rejected item cannot be shown: %+v", item)
		}
		if bytes.Contains([]byte(item.Detail), []byte("\x00\x00")) {
			t.Fatalf("rejected item refers to the body: %+v", item)
		}
	}
	for i := range b.records {
		var e schemas.Event
		if err := new(schemas.EventDecoder).Decode(b.records[i].Value, &e); err != nil {
			t.Fatalf("record %d: rollup would refuse it: %v", i, err)
		}
		if e.Workspace != "ws_acme" || e.Adjustment != nil || !bytes.Equal(b.records[i].Key, schemas.RecordKey(e.Workspace, e.ID)) {
			t.Fatalf("record %d: key %q, event %+v", i, b.records[i].Key, e)
		}
	}
	return b, err
}

var fuzzSeeds = []string{
	`{"id":"m","workspace_id":"ws_acme","agent_id":"a","occurred_at":"2026-11-24T09:31:47.123456Z","channel":"api","credits":"1.5"}`,
	`{"id":"\u00e4\"\\","workspace_id":"ws_acme","agent_id":"a","occurred_at":"2026-11-24T09:31:47+05:45","channel":"api","credits":1.5e-1,"messages":2,"model":null,"conversation_id":""}`,
	`{"id":{"a":["}\"]"]},"id":7,"cost":-0.0,"credits":true,"\u0069d":"x"}`,
	`[]`, `[7,"x",null,{}]`, `{"credits":1e999999999}`, "\ufeff{}", `{"id":"\ud800"}`, `[[[[[[[[`, `{"a":"b"`, ` { } `,
}

func FuzzJSON(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
		f.Add([]byte("[" + seed + " , " + seed + "]"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeFuzzed(t, "application/json", body)
		if err == nil && !jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		if !b.single || err != nil || len(b.records) != 1 {
			return
		}
		// What was taken from an object is what a strict library reads in it.
		var reference struct {
			ID           string         `json:"id"`
			Workspace    string         `json:"workspace_id"`
			Agent        string         `json:"agent_id"`
			Conversation *string        `json:"conversation_id"`
			OccurredAt   time.Time      `json:"occurred_at"`
			Channel      string         `json:"channel"`
			Model        *string        `json:"model"`
			Credits      jsontext.Value `json:"credits"`
			Messages     jsontext.Value `json:"messages"`
		}
		if err := json.Unmarshal(body, &reference, json.RejectUnknownMembers(true)); err != nil {
			t.Fatalf("a strict library refuses %q: %v", body, err)
		}
		var e schemas.Event
		if err := new(schemas.EventDecoder).Decode(b.records[0].Value, &e); err != nil {
			t.Fatal(err)
		}
		text := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		if e.ID != reference.ID || string(e.Agent) != reference.Agent || e.Channel != reference.Channel ||
			e.Model != text(reference.Model) || e.Conversation != text(reference.Conversation) ||
			!e.OccurredAt.Equal(reference.OccurredAt.Truncate(time.Microsecond)) {
			t.Fatalf("%q\nread as %+v\nreference %+v", body, e, reference)
		}
	})
}

func FuzzNDJSON(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed + "\n" + seed))
		f.Add([]byte("\r\n" + seed + "\r\n\xff\n{\n" + seed + seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		lines := 0
		for line := range bytes.Lines(body) {
			if len(bytes.Trim(line, " \t\r\n")) > 0 {
				lines++
			}
		}
		b, err := decodeFuzzed(t, "application/x-ndjson", body)
		if lines <= b.config.MaxEvents && (err != nil || b.items != lines) {
			t.Fatalf("%d lines, %d items, %v", lines, b.items, err)
		}
	})
}

func FuzzCloudEvents(f *testing.F) {
	for _, seed := range fuzzSeeds {
		envelope := `{"specversion":"1.0","type":"t","source":"s","id":"i","time":"2026-11-24T09:31:47Z","ext":1,"data":` + seed + `}`
		f.Add([]byte(envelope), false)
		f.Add([]byte("["+envelope+","+seed+"]"), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, batch bool) {
		mediaType := "application/cloudevents+json"
		if batch {
			mediaType = "application/cloudevents-batch+json"
		}
		if _, err := decodeFuzzed(t, mediaType, body); err == nil && !jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
	})
}

func FuzzProtobuf(f *testing.F) {
	events := sampleEvents(3)
	for i := range events {
		events[i].Workspace = "ws_acme"
	}
	good := protobufOf(events)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("\x0a\x00"))
	f.Add([]byte("\x0a\x05\x0a\x7fab"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = decodeFuzzed(t, "application/x-protobuf", body)
	})
}

// FuzzEncodings sends bytes as bodies of every encoding: no answer is 5xx, and
// no memory stays reserved.
func FuzzEncodings(f *testing.F) {
	plain := []byte(fuzzSeeds[0])
	for _, encoding := range []string{"gzip", "zstd"} {
		packed := compress(f, encoding, plain)
		f.Add(packed, encoding == "zstd")
		f.Add(packed[:len(packed)-2], encoding == "zstd")
		f.Add(append(bytes.Clone(packed), packed...), encoding == "zstd")
		f.Add(compress(f, encoding, make([]byte, 64<<10)), encoding == "zstd")
	}
	// A frame that asks for a window of gigabytes.
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00"), true)
	registry := prometheus.NewRegistry()
	in, err := New(Config{
		EventsTopic: "e", DirectoryTopic: "d", MaxBodyBytes: 16 << 10, MaxEventBytes: 1 << 10, MaxEvents: 10,
		MaxEventAge: time.Hour, MaxInFlightBytes: 64 << 10, AckTimeout: time.Second,
	}, failingClient(f), slog.New(slog.DiscardHandler), registry)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packed []byte, zstd bool) {
		r := httptest.NewRequest(http.MethodPost, "/v1/events", bytes.NewReader(packed))
		r.Header.Set("Content-Encoding", "gzip")
		if zstd {
			r.Header.Set("Content-Encoding", "zstd")
		}
		w := httptest.NewRecorder()
		body, err := in.readBody(w, r)
		if err == nil {
			if len(body.bytes) > 16<<10 {
				t.Fatalf("%d bytes came through", len(body.bytes))
			}
			body.release()
		}
		if held := in.budget.InUse(); held != 0 {
			t.Fatalf("%d bytes stay reserved", held)
		}
	})
}
