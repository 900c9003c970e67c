package ingest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"google.golang.org/protobuf/proto"

	"agentmeter/internal/auth"
	"agentmeter/internal/kafka"
	"agentmeter/schemas/api"
	"agentmeter/schemas/usagev1"
)

func (s stand) changes(t *testing.T) []*usagev1.DirectoryChange {
	t.Helper()
	var changes []*usagev1.DirectoryChange
	for _, record := range s.records(t, kafka.TopicDirectory) {
		change := &usagev1.DirectoryChange{}
		if err := change.UnmarshalVT(record.Value); err != nil {
			t.Fatal(err)
		}
		if string(record.Key) != change.WorkspaceId {
			t.Errorf("the change of %s has the key %q", change.WorkspaceId, record.Key)
		}
		changes = append(changes, change)
	}
	return changes
}

func (s stand) put(t *testing.T, path, body string) int {
	t.Helper()
	return s.do(t, call{route: "PUT " + path, mediaType: "application/json", body: []byte(body)}).Code
}

func TestDirectoryChangesArriveAsTheyWereStated(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	began := time.Now()
	w := s.do(t, call{route: "PUT /v1/workspaces/ws%2F%C3%A4", mediaType: "application/json", body: []byte(`{
		"name":"Acme \u00e4","timezone":"Europe/Copenhagen","billing_anchor":"2026-01-31","agent_slots":10,"seats":"5",
		"links":{"billing":"https://example.com/b?x=1","plans":null,"auto_recharge":""},"support_email":"support@example.com","product_name":"Agents"}`)})
	if w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var receipt api.DirectoryReceipt
	if err := json.Unmarshal(w.Body.Bytes(), &receipt); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ method, path, body string }{
		{"PUT", "/v1/workspaces/ws_b", `{"agent_slots":null,"name":null}`},
		{"PUT", "/v1/workspaces/ws_b/agents/agt%2F1", `{"name":"Support Bot"}`},
		{"DELETE", "/v1/workspaces/ws_b/agents/agt%2F1", ""},
		{"PUT", "/v1/workspaces/ws_b/members/m%201", `{"name":"<img onerror=…>"}`},
		{"DELETE", "/v1/workspaces/ws_b/members/m%201", ""},
	} {
		mediaType := "application/json"
		if step.body == "" {
			mediaType = ""
		}
		if w := s.do(t, call{route: step.method + " " + step.path, mediaType: mediaType, body: []byte(step.body)}); w.Code != http.StatusAccepted {
			t.Fatalf("%s %s: %d %s", step.method, step.path, w.Code, w.Body)
		}
	}
	ten, five := int64(10), int64(5)
	want := []*usagev1.DirectoryChange{
		{WorkspaceId: "ws/ä", Change: &usagev1.DirectoryChange_Workspace{Workspace: &usagev1.Workspace{
			Name: "Acme ä", Timezone: "Europe/Copenhagen", BillingAnchor: "2026-01-31", AgentSlots: &ten, Seats: &five,
			Links: map[string]string{"billing": "https://example.com/b?x=1"}, SupportEmail: "support@example.com", ProductName: "Agents",
		}}},
		{WorkspaceId: "ws_b", Change: &usagev1.DirectoryChange_Workspace{Workspace: &usagev1.Workspace{}}},
		{WorkspaceId: "ws_b", Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "agt/1", Name: "Support Bot"}}},
		{WorkspaceId: "ws_b", Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "agt/1", Deleted: true}}},
		{WorkspaceId: "ws_b", Change: &usagev1.DirectoryChange_Member{Member: &usagev1.Member{MemberId: "m 1", Name: "<img onerror=…>"}}},
		{WorkspaceId: "ws_b", Change: &usagev1.DirectoryChange_Member{Member: &usagev1.Member{MemberId: "m 1", Deleted: true}}},
	}
	got := s.changes(t)
	if len(got) != len(want) {
		t.Fatalf("%d changes arrived, want %d", len(got), len(want))
	}
	if at := time.UnixMicro(got[0].ChangedAtUs); !at.Equal(receipt.ChangedAt) || at.Before(began.Truncate(time.Microsecond)) || at.After(time.Now()) {
		t.Errorf("changed at %v, the receipt says %v", at, receipt.ChangedAt)
	}
	last := int64(0)
	for i := range got {
		if got[i].ChangedAtUs <= last {
			t.Errorf("change %d is not after the one before", i)
		}
		last, got[i].ChangedAtUs = got[i].ChangedAtUs, 0
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("change %d:\n%v\nwant\n%v", i, got[i], want[i])
		}
	}
}

func TestFaultsOfTheDirectoryAreNamed(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	long := strings.Repeat("x", 257)
	for _, tt := range []struct {
		name, path, body string
		status           int
		field, code      string
	}{
		{"nothing", "ws", ``, 400, "", "body_missing"},
		{"an array", "ws", `[]`, 400, "", "json_invalid"},
		{"half an object", "ws", `{"name":`, 400, "", "json_invalid"},
		{"two objects", "ws", `{}{}`, 400, "", "json_invalid"},
		{"too large", "ws", `{"name":"` + strings.Repeat("x", 70_000) + `"}`, 413, "", "body_too_large"},
		{"unknown", "ws", `{"nam":"x"}`, 422, "nam", "field_unknown"},
		{"duplicate", "ws", `{"name":"x","name":"y"}`, 422, "name", "field_duplicate"},
		{"name is a number", "ws", `{"name":7}`, 422, "name", "name_invalid"},
		{"long name", "ws", `{"name":"` + long + `"}`, 422, "name", "name_invalid"},
		{"control character", "ws", `{"name":"a\u0007"}`, 422, "name", "name_invalid"},
		{"no zone", "ws", `{"timezone":"Europe/Atlantis"}`, 422, "timezone", "timezone_invalid"},
		{"a file", "ws", `{"timezone":"../../etc/passwd"}`, 422, "timezone", "timezone_invalid"},
		{"the machine's zone", "ws", `{"timezone":"Local"}`, 422, "timezone", "timezone_invalid"},
		{"leap seconds", "ws", `{"timezone":"right/UTC"}`, 422, "timezone", "timezone_invalid"},
		{"an offset", "ws", `{"timezone":"+02:00"}`, 422, "timezone", "timezone_invalid"},
		{"30 February", "ws", `{"billing_anchor":"2026-02-30"}`, 422, "billing_anchor", "billing_anchor_invalid"},
		{"an instant", "ws", `{"billing_anchor":"2026-02-01T00:00:00Z"}`, 422, "billing_anchor", "billing_anchor_invalid"},
		{"long ago", "ws", `{"billing_anchor":"1969-02-01"}`, 422, "billing_anchor", "billing_anchor_invalid"},
		{"fewer than no slots", "ws", `{"agent_slots":-1}`, 422, "agent_slots", "agent_slots_out_of_range"},
		{"half a seat", "ws", `{"seats":1.5}`, 422, "seats", "seats_invalid"},
		{"too many seats", "ws", `{"seats":1000000001}`, 422, "seats", "seats_out_of_range"},
		{"links are a string", "ws", `{"links":"x"}`, 422, "links", "links_invalid"},
		{"a script", "ws", `{"links":{"billing":"javascript:alert(1)"}}`, 422, "links.billing", "links_invalid"},
		{"a bare path", "ws", `{"links":{"billing":"/billing"}}`, 422, "links.billing", "links_invalid"},
		{"a password", "ws", `{"links":{"billing":"https://u:p@example.com"}}`, 422, "links.billing", "links_invalid"},
		{"a long link", "ws", `{"links":{"plans":"https://example.com/` + strings.Repeat("x", 2048) + `"}}`, 422, "links.plans", "links_invalid"},
		{"an unknown link", "ws", `{"links":{"home":"https://example.com"}}`, 422, "links.home", "field_unknown"},
		{"a link twice", "ws", `{"links":{"plans":"https://a.example","plans":"https://b.example"}}`, 422, "links.plans", "field_duplicate"},
		{"no address", "ws", `{"support_email":"support"}`, 422, "support_email", "support_email_invalid"},
		{"a name with an address", "ws", `{"support_email":"A <a@example.com>"}`, 422, "support_email", "support_email_invalid"},
		{"long id", strings.Repeat("w", 129), `{}`, 422, "workspace_id", "workspace_id_invalid"},
		{"star", "*", `{}`, 422, "workspace_id", "workspace_id_invalid"},
		{"an agent without a name", "ws/agents/a", `{}`, 422, "name", "name_missing"},
		{"an empty name", "ws/agents/a", `{"name":""}`, 422, "name", "name_missing"},
		{"an agent's other member", "ws/agents/a", `{"name":"x","deleted":true}`, 422, "deleted", "field_unknown"},
		{"an agent's long id", "ws/agents/" + strings.Repeat("a", 129), `{"name":"x"}`, 422, "agent_id", "agent_id_invalid"},
		{"a member's name is a list", "ws/members/a", `{"name":["x"]}`, 422, "name", "name_invalid"},
		{"a member's odd id", "ws/members/%00", `{"name":"x"}`, 422, "member_id", "member_id_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := s.do(t, call{route: "PUT /v1/workspaces/" + tt.path, mediaType: "application/json", body: []byte(tt.body)})
			problem := problemIn(t, w)
			if w.Code != tt.status {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if tt.field == "" {
				if problem.Code != tt.code {
					t.Errorf("%s", w.Body)
				}
				return
			}
			if len(problem.Errors) != 1 || problem.Errors[0].Field != tt.field || problem.Errors[0].Code != tt.code {
				t.Errorf("%s", w.Body)
			}
		})
	}
	if code := s.do(t, call{route: "PUT /v1/workspaces/ws", mediaType: "text/plain", body: []byte(`{}`)}).Code; code != 415 {
		t.Errorf("text: %d", code)
	}
	if got := s.changes(t); len(got) != 0 {
		t.Errorf("%d changes arrived", len(got))
	}
}

func TestEveryFaultOfASettingIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	w := s.do(t, call{route: "PUT /v1/workspaces/ws", mediaType: "application/json", body: []byte(`{"name":1,"timezone":"x","seats":-1,"links":{"a":1}}`)})
	if problem := problemIn(t, w); len(problem.Errors) != 4 {
		t.Errorf("%s", w.Body)
	}
}

func TestCommonZonesAreTaken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, zone := range []string{"UTC", "Europe/Copenhagen", "Asia/Kathmandu", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Australia/Lord_Howe"} {
		if code := s.put(t, "/v1/workspaces/ws", `{"timezone":"`+zone+`"}`); code != 202 {
			t.Errorf("%s: %d", zone, code)
		}
	}
}

func TestAdjustmentsAreSignedEvents(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	w := s.do(t, call{route: "POST /v1/adjustments", mediaType: "application/json", body: []byte(`{
		"id":"adj-1","workspace_id":"ws_acme","agent_id":"agt","occurred_at":"2001-02-03T04:05:06Z","credits":-12.5,"messages":-3,"reason":"outage","event_id":"m-1"}`)})
	if got := acceptanceIn(t, w); got.Accepted != 1 || got.Rejected == nil || len(got.Rejected) != 0 {
		t.Errorf("%s", w.Body)
	}
	w = s.do(t, call{route: "POST /v1/adjustments", mediaType: "application/json", body: []byte(`{
		"id":"adj-2","workspace_id":"ws_acme","agent_id":"agt","occurred_at":"2001-02-03T04:05:06Z","credits":"7","reason":"x","event_id":null}`)})
	acceptanceIn(t, w)
	arrived := eventsByID(s.events(t))
	first, second := arrived["adj-1"], arrived["adj-2"]
	if first.Adjustment == nil || first.Adjustment.Reason != "outage" || first.Adjustment.EventID != "m-1" ||
		first.Credits != -12_500_000 || first.Messages != -3 || first.OccurredAt.Year() != 2001 {
		t.Errorf("%+v", first)
	}
	if second.Adjustment == nil || second.Credits != 7_000_000 || second.Messages != 0 {
		t.Errorf("%+v", second)
	}
}

func TestFaultsOfAnAdjustmentAreNamed(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	good := map[string]any{
		"id": "adj", "workspace_id": "ws_acme", "agent_id": "agt", "occurred_at": "2026-01-01T00:00:00Z", "credits": "-1", "reason": "r",
	}
	for _, tt := range []struct {
		name   string
		edit   map[string]any
		status int
		code   string
	}{
		{"no reason", map[string]any{"reason": nil}, 422, "reason_missing"},
		{"long reason", map[string]any{"reason": strings.Repeat("x", 1025)}, 422, "reason_invalid"},
		{"no credits", map[string]any{"credits": nil}, 422, "credits_missing"},
		{"in the future", map[string]any{"occurred_at": time.Now().Add(time.Hour).Format(time.RFC3339)}, 422, "occurred_at_in_future"},
		{"a member of events", map[string]any{"channel": "api"}, 422, "field_unknown"},
		{"another workspace", map[string]any{"workspace_id": "ws_other", "reason": nil}, 404, ""},
		{"no workspace", map[string]any{"workspace_id": nil}, 422, "workspace_id_missing"},
	} {
		members := map[string]any{}
		for _, from := range []map[string]any{good, tt.edit} {
			for name, value := range from {
				if members[name] = value; value == nil {
					delete(members, name)
				}
			}
		}
		body, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		w := s.do(t, call{route: "POST /v1/adjustments", mediaType: "application/json", body: body, token: s.mint(t, "ws_acme", auth.AdjustmentsWrite)})
		problem := problemIn(t, w)
		if w.Code != tt.status || (tt.code != "" && (len(problem.Errors) == 0 || problem.Errors[0].Code != tt.code)) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
	}
	if w := s.do(t, call{route: "POST /v1/adjustments", mediaType: "application/json", body: []byte(`[{}]`)}); w.Code != 400 {
		t.Errorf("an array: %d", w.Code)
	}
	if got := len(s.records(t, kafka.TopicEvents)); got != 0 {
		t.Errorf("%d records arrived", got)
	}
}
