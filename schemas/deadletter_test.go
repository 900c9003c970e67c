package schemas

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever makes a record invalid has a code that is known, and each known one comes
// up.
func TestEachCodeOfAnInvalidRecordIsKnown(t *testing.T) {
	t.Parallel()
	found := map[string]bool{CodeUndecodable: true, CodeWrongPartition: true, CodePayloadConflict: true}
	known := DeadLetterCodes()
	seen := func(err error) {
		t.Helper()
		var fault FieldError
		if !errors.As(err, &fault) || !slices.Contains(known, fault.Code) {
			t.Errorf("%v has the code %q, which is not among %v", err, fault.Code, known)
		}
		found[fault.Code] = true
	}
	texts := map[string]func(e *Event, text string){
		"id":              func(e *Event, text string) { e.ID = text },
		"workspace_id":    func(e *Event, text string) { e.Workspace = WorkspaceID(text) },
		"agent_id":        func(e *Event, text string) { e.Agent = AgentID(text) },
		"conversation_id": func(e *Event, text string) { e.Conversation = text },
		"channel":         func(e *Event, text string) { e.Channel = text },
		"model":           func(e *Event, text string) { e.Model = text },
		"reason":          func(e *Event, text string) { e.Adjustment.Reason = text },
		"event_id":        func(e *Event, text string) { e.Adjustment.EventID = text },
	}
	event := func(adjustment bool) *Event {
		e := &Event{
			ID: "e1", Workspace: "ws_a", Agent: "agt_1", Channel: "embed", Credits: 1, Messages: 1,
			OccurredAt: time.Date(2026, 11, 24, 9, 31, 47, 0, time.UTC),
		}
		if adjustment {
			e.Adjustment = &Adjustment{Reason: "refund"}
		}
		return e
	}
	for field, set := range texts {
		for _, text := range []string{"", "\x00", strings.Repeat("x", 10_000)} {
			e := event(field == "reason" || field == "event_id")
			set(e, text)
			for _, fault := range e.Validate() {
				seen(fault)
			}
		}
	}
	for _, change := range []func(*Event){
		func(e *Event) { e.Workspace = AllWorkspaces },
		func(e *Event) { e.OccurredAt = time.Time{} },
		func(e *Event) { e.OccurredAt = time.Date(1, 1, 1, 1, 0, 0, 0, time.UTC) },
		func(e *Event) { e.Credits = -1 },
		func(e *Event) { e.Messages = -1 },
		func(e *Event) { e.Messages = MaxMessages + 1 },
	} {
		e := event(false)
		change(e)
		faults := e.Validate()
		if faults == nil {
			t.Error("an event that was made invalid is none")
		}
		for _, fault := range faults {
			seen(fault)
		}
	}
	for _, code := range known {
		if !found[code] {
			t.Errorf("no record is found that has the code %s", code)
		}
	}
}
