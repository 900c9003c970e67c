package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

var conversationKey = []byte("0123456789abcdef")

// hashOf is the formula that the documentation gives.
func hashOf(workspace, conversation string) string {
	mac := hmac.New(sha256.New, conversationKey)
	mac.Write([]byte(workspace + "\x00" + conversation))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

func TestConversationsAreKnownByTheirHashesAlone(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.ConversationKey = conversationKey })
	const secret = "conv-planted-+45 20 12 34 56"
	event := func(id, workspace string) string {
		return eventJSON(map[string]any{"id": id, "workspace_id": workspace, "conversation_id": secret})
	}
	now := time.Now().UTC()
	cloud := fmt.Sprintf(`{"specversion":"1.0","id":"c","type":"t","source":"agt","time":%q,"data":%s}`, now.Format(time.RFC3339),
		eventJSON(map[string]any{"id": nil, "agent_id": nil, "occurred_at": nil, "conversation_id": secret}))
	encoded, err := (&usagev1.EventBatch{Events: []*usagev1.Event{{
		Id: "p", WorkspaceId: "ws_acme", AgentId: "agt", OccurredAtUs: now.UnixMicro(), Channel: "api", ConversationId: secret,
	}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for mediaType, body := range map[string][]byte{
		"application/json":             []byte("[" + event("j", "ws_acme") + "," + event("other", "ws_other") + "," + eventJSON(map[string]any{"id": "none"}) + "]"),
		"application/x-ndjson":         []byte(event("n", "ws_acme")),
		"application/cloudevents+json": []byte(cloud),
		"application/x-protobuf":       encoded,
	} {
		if w := s.do(t, call{mediaType: mediaType, body: body}); w.Code != http.StatusAccepted {
			t.Fatalf("%s: %d %s", mediaType, w.Code, w.Body)
		}
	}
	adjustment := fmt.Sprintf(`{"id":"a","workspace_id":"ws_acme","agent_id":"agt","occurred_at":%q,"credits":"-1","messages":"0","reason":"r"}`, now.Format(time.RFC3339))
	if w := s.do(t, call{route: "POST /v1/adjustments", mediaType: "application/json", body: []byte(adjustment)}); w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := map[string]string{
		"j": hashOf("ws_acme", secret), "n": hashOf("ws_acme", secret), "c": hashOf("ws_acme", secret), "p": hashOf("ws_acme", secret),
		"other": hashOf("ws_other", secret), "none": "", "a": "",
	}
	if want["j"] == want["other"] {
		t.Fatal("a conversation can be followed from one workspace to another")
	}
	got := eventsByID(s.events(t))
	for id, hashed := range want {
		if got[id].Conversation != hashed {
			t.Errorf("%s is stored with %q, want %q", id, got[id].Conversation, hashed)
		}
	}
	for _, record := range s.records(t, kafka.TopicEvents) {
		if strings.Contains(string(record.Value)+string(record.Key)+fmt.Sprint(record.Headers), secret) {
			t.Errorf("the id is in Kafka: %q", record.Value)
		}
	}
	// What is refused does not say it, either.
	long := strings.Repeat("conv-planted", 100)
	w := s.sendJSON(t, eventJSON(map[string]any{"conversation_id": long}))
	if w.Code != http.StatusUnprocessableEntity || strings.Contains(w.Body.String(), "conv-planted") {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
}

func TestConversationsAreStoredAsTheyAreUnlessTold(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	if w := s.sendJSON(t, eventJSON(map[string]any{"conversation_id": "conv_17"})); w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := eventsByID(s.events(t))["m-1"].Conversation; got != "conv_17" {
		t.Errorf("stored as %q", got)
	}
}

func TestAConversationKeyThatCanBeGuessedIsRefused(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.ConversationKey = []byte("short")
	if err := config.Validate(); err == nil || !strings.Contains(err.Error(), "at least 16") || strings.Contains(err.Error(), "short") {
		t.Errorf("%v", err)
	}
}

func BenchmarkConversationHash(b *testing.B) {
	c := newConversations(conversationKey)
	for b.Loop() {
		c.stored(schemas.WorkspaceID("ws_acme"), "conv_0123456789abcdef")
	}
}
