package eventclient_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/eventclient"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// Decoding what AppendEvent wrote, by the contract's own types, gives the
// event back, and it is one line.
func TestEventReadsBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		want := schemas.Event{
			ID: text.Draw(t, "id"), Workspace: schemas.WorkspaceID(text.Draw(t, "workspace")), Agent: schemas.AgentID(text.Draw(t, "agent")),
			Conversation: text.Draw(t, "conversation"), Channel: text.Draw(t, "channel"), Model: text.Draw(t, "model"),
			OccurredAt: time.UnixMicro(rapid.Int64Range(0, 4_000_000_000_000_000).Draw(t, "occurred at")).UTC(),
			Credits:    schemas.Credits(rapid.Int64Min(0).Draw(t, "credits")),
			Messages:   rapid.Int64Range(0, schemas.MaxMessages).Draw(t, "messages"),
		}
		line := eventclient.AppendEvent(nil, &want)
		for _, c := range line {
			if c == '\n' {
				t.Fatalf("%s is more than one line", line)
			}
		}
		var wire api.Event
		if err := json.Unmarshal(line, &wire); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got := schemas.Event{
			ID: wire.ID, Workspace: schemas.WorkspaceID(wire.WorkspaceID), Agent: schemas.AgentID(wire.AgentID), Channel: wire.Channel,
			OccurredAt: wire.OccurredAt, Credits: wire.Credits, Messages: 1,
		}
		if wire.ConversationID != nil {
			got.Conversation = *wire.ConversationID
		}
		if wire.Model != nil {
			got.Model = *wire.Model
		}
		if wire.Messages != nil {
			got.Messages = *wire.Messages
		}
		if got != want {
			t.Fatalf("%s reads back as %+v, want %+v", line, got, want)
		}
	})
}

func TestBatchKeepsItsItemsApart(t *testing.T) {
	t.Parallel()
	var b eventclient.Batch
	for range 2 {
		for _, line := range []string{"a", "", "ccc"} {
			b.AddLine([]byte(line))
		}
		if b.Len() != 3 || b.Bytes() != 7 || string(b.Item(0)) != "a" || string(b.Item(1)) != "" || string(b.Item(2)) != "ccc" {
			t.Fatalf("got %d items of %d bytes: %q %q %q", b.Len(), b.Bytes(), b.Item(0), b.Item(1), b.Item(2))
		}
		b.Reset()
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e := schemas.Event{
		ID: "0f8a6c1e-8f0c-4a55-9b0e-6f6a3c1d2e3f", Workspace: "ws_acme", Agent: "agt_support", Conversation: "conv_17",
		OccurredAt: time.Date(2026, 11, 24, 9, 31, 47, 123456000, time.UTC), Channel: "embed", Model: "large", Credits: 1_500_000, Messages: 1,
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = eventclient.AppendEvent(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}
