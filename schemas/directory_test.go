package schemas

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"agentmeter/schemas/usagev1"
)

func TestFaultsOfADirectoryChangeAreNamed(t *testing.T) {
	many := int64(MaxSlots + 1)
	workspace := func(w *usagev1.Workspace) *usagev1.DirectoryChange {
		return &usagev1.DirectoryChange{WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Workspace{Workspace: w}}
	}
	for want, change := range map[string]*usagev1.DirectoryChange{
		"workspace_id":   {ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "a"}}},
		"changed_at":     {WorkspaceId: "ws", ChangedAtUs: -1, Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "a"}}},
		"unknown kind":   {WorkspaceId: "ws", ChangedAtUs: 1},
		"agent_id":       {WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{}}},
		"member_id":      {WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Member{Member: &usagev1.Member{MemberId: " x"}}},
		"name":           workspace(&usagev1.Workspace{Name: strings.Repeat("x", MaxTextRunes+1)}),
		"timezone":       workspace(&usagev1.Workspace{Timezone: "Mars/Olympus"}),
		"billing_anchor": workspace(&usagev1.Workspace{BillingAnchor: "2026-02-30"}),
		"support_email":  workspace(&usagev1.Workspace{SupportEmail: "nobody"}),
		"links.billing":  workspace(&usagev1.Workspace{Links: map[string]string{"billing": "javascript:alert(1)"}}),
		"links has":      workspace(&usagev1.Workspace{Links: map[string]string{"elsewhere": "https://a.example"}}),
		"slots or seats": workspace(&usagev1.Workspace{Seats: &many}),
	} {
		if got := DirectoryProblem(change); !strings.Contains(got, want) {
			t.Errorf("%q is said of what is wrong with %s", got, want)
		}
	}
	for _, change := range []*usagev1.DirectoryChange{
		workspace(&usagev1.Workspace{}),
		workspace(&usagev1.Workspace{Name: "Acme", Timezone: "Asia/Kathmandu", BillingAnchor: "2026-01-31", SupportEmail: "a@b.example", Links: map[string]string{"billing": "https://a.example/x"}}),
		{WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "a", Deleted: true}}},
	} {
		if got := DirectoryProblem(change); got != "" {
			t.Errorf("%v: %s", change, got)
		}
	}
}

// FuzzDirectoryChange reads whatever it is as a record of the directory's topic.
func FuzzDirectoryChange(f *testing.F) {
	for _, change := range []*usagev1.DirectoryChange{
		{WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Workspace{Workspace: &usagev1.Workspace{Name: "Acme", Timezone: "UTC", Links: map[string]string{"billing": "https://a.example"}}}},
		{WorkspaceId: "ws", ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Member{Member: &usagev1.Member{MemberId: "m", Name: "M"}}},
	} {
		value, err := change.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var change usagev1.DirectoryChange
		if change.UnmarshalVT(value) != nil || DirectoryProblem(&change) != "" {
			return
		}
		// What is stored of it can be read again.
		if w := change.GetWorkspace(); w != nil && w.Timezone != "" {
			if _, err := LoadZone(w.Timezone); err != nil {
				t.Errorf("%q is taken for a time zone: %v", w.Timezone, err)
			}
		}
		again, err := change.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		var same usagev1.DirectoryChange
		if err := same.UnmarshalVT(again); err != nil || !proto.Equal(&same, &change) {
			t.Errorf("%v is not read again as it was: %v", &change, err)
		}
	})
}
