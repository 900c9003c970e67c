package rollup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

func (s *stack) changeDirectory(changes ...*usagev1.DirectoryChange) {
	s.t.Helper()
	for _, change := range changes {
		value, err := change.MarshalVT()
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.producer.ProduceSync(s.t.Context(), &kgo.Record{Topic: kafka.TopicDirectory, Key: []byte(change.WorkspaceId), Value: value}).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stack) waitRows(table string, want uint64) {
	s.t.Helper()
	var got uint64
	s.until(func() bool {
		if err := s.client.Conn().QueryRow(s.t.Context(), "SELECT count() FROM "+table+" FINAL").Scan(&got); err != nil {
			s.t.Fatal(err)
		}
		return got == want
	}, func() string {
		return fmt.Sprintf("%s has %d rows, want %d: %s", table, got, want, s.explainRows(table))
	})
}

// explainRows tells whether what is missing was skipped or not reached: which
// offsets are stored, and which the log holds.
func (s *stack) explainRows(table string) string {
	s.t.Helper()
	var stored []int64
	if err := s.client.Conn().QueryRow(s.t.Context(), "SELECT arraySort(groupArray(source_offset)) FROM "+table+" FINAL").Scan(&stored); err != nil {
		return err.Error()
	}
	ends, err := kafka.LogEnds(s.t.Context(), s.admin, kafka.TopicDirectory)
	if err != nil {
		return err.Error()
	}
	starts, err := kafka.LogStarts(s.t.Context(), s.admin, kafka.TopicDirectory)
	if err != nil {
		return err.Error()
	}
	var kept []string
	_, err = kafka.Find(s.t.Context(), s.kafka.Options(s.log), kafka.TopicDirectory, func(record *kgo.Record) bool {
		origin, _ := kafka.Origin(record)
		kept = append(kept, fmt.Sprintf("%d (of %d)", record.Offset, origin))
		return false
	})
	return fmt.Sprintf("stored are the offsets %d; the log is [%d, %d) with %s, %v", stored, starts, ends, strings.Join(kept, ", "), err)
}

func TestDirectoryKeepsItsHistoryOnce(t *testing.T) {
	s := newStack(t)
	stop := s.start()
	slots := int64(10)
	at := testTime.UnixMicro()
	agent := func(at int64, name string, deleted bool) *usagev1.DirectoryChange {
		return &usagev1.DirectoryChange{WorkspaceId: "ws_a", ChangedAtUs: at, Change: &usagev1.DirectoryChange_Agent{Agent: &usagev1.Agent{AgentId: "agt", Name: name, Deleted: deleted}}}
	}
	s.changeDirectory(
		&usagev1.DirectoryChange{WorkspaceId: "ws_a", ChangedAtUs: at, Change: &usagev1.DirectoryChange_Workspace{Workspace: &usagev1.Workspace{
			Name: "Acme", Timezone: "Europe/Copenhagen", BillingAnchor: "2026-01-31", AgentSlots: &slots, Links: map[string]string{"billing": "https://example.com"},
		}}},
		agent(at, "Old name", false), agent(at+1, "New name", false), agent(at+2, "New name", true),
		&usagev1.DirectoryChange{WorkspaceId: "ws_a", ChangedAtUs: at, Change: &usagev1.DirectoryChange_Member{Member: &usagev1.Member{MemberId: "mem", Name: "Ada"}}},
	)
	s.waitRows("directory_agents", 3)
	s.waitRows("directory_members", 1)
	s.waitRows("directory_workspaces", 1)

	// What does not decode is passed over, and reading it all again after a
	// restart stores nothing twice.
	if err := s.producer.ProduceSync(t.Context(), &kgo.Record{Topic: kafka.TopicDirectory, Value: []byte{0xff}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stop()
	s.start()
	s.changeDirectory(agent(at+3, "Back again", false))
	s.waitRows("directory_agents", 4)

	var zone string
	var anchor time.Time
	var gotSlots, seats *int64
	err := s.client.Conn().QueryRow(t.Context(), `SELECT timezone, billing_anchor, agent_slots, seats FROM directory_workspaces LIMIT 1`).Scan(&zone, &anchor, &gotSlots, &seats)
	if err != nil {
		t.Fatal(err)
	}
	if zone != "Europe/Copenhagen" || anchor.Format(time.DateOnly) != "2026-01-31" || gotSlots == nil || *gotSlots != 10 || seats != nil {
		t.Errorf("stored %s, %s, %v, %v", zone, anchor, gotSlots, seats)
	}
}

func TestRecreatedDirectoryTopicIsReadFromItsStart(t *testing.T) {
	s := newStack(t)
	stop := s.start()
	member := func(i int) *usagev1.DirectoryChange {
		return &usagev1.DirectoryChange{WorkspaceId: "ws_a", ChangedAtUs: testTime.UnixMicro() + int64(i), Change: &usagev1.DirectoryChange_Member{
			Member: &usagev1.Member{MemberId: fmt.Sprintf("mem_%d", i), Name: "Ada"},
		}}
	}
	for i := range 3 {
		s.changeDirectory(member(i))
	}
	s.waitRows("directory_members", 3)
	stop()
	if _, err := s.admin.DeleteTopics(t.Context(), kafka.TopicDirectory); err != nil {
		t.Fatal(err)
	}
	s.producer.PurgeTopicsFromClient(kafka.TopicDirectory)
	if _, err := kafka.EnsureTopics(t.Context(), s.admin, kafka.DefaultPlan()); err != nil {
		t.Fatal(err)
	}
	s.changeDirectory(member(3)) // takes offset 0 again
	s.start()
	s.waitRows("directory_members", 4)
}

// An erasure writes others' changes again at the log's end: they are stored once
// all the same, in their order, also by a rollup that had stored none of them.
func TestChangesThatErasuresWriteAgainAreStoredOnce(t *testing.T) {
	s := newStack(t)
	stop := s.start()
	agent := func(workspace string, i int) *usagev1.DirectoryChange {
		return &usagev1.DirectoryChange{WorkspaceId: workspace, ChangedAtUs: testTime.UnixMicro(), Change: &usagev1.DirectoryChange_Agent{
			Agent: &usagev1.Agent{AgentId: "agt", Name: fmt.Sprintf("Name %d", i)}, // at the same time: the later one holds
		}}
	}
	names := func() (all string) {
		s.each("SELECT groupArray(name) FROM (SELECT name FROM directory_agents FINAL WHERE workspace = 'ws_a' ORDER BY source_offset)", func(scan func(...any)) {
			var list []string
			scan(&list)
			all = strings.Join(list, ", ")
		})
		return all
	}
	for i := range 3 {
		s.changeDirectory(agent("ws_a", i))
	}
	s.changeDirectory(agent("ws_gone", 0))
	s.waitRows("directory_agents", 4)
	gone := DirectoryChangesOf(map[schemas.WorkspaceID]bool{"ws_gone": true})
	for i := range 3 {
		pruned, err := kafka.Prune(t.Context(), s.kafka.Options(s.log), kafka.TopicDirectory, gone)
		if err != nil || pruned != (kafka.Pruned{Dropped: 1, Kept: 3 + i}) {
			t.Fatalf("%v: %+v", err, pruned)
		}
		s.changeDirectory(agent("ws_b", i), agent("ws_gone", i+1)) // stored after what is written again
		s.waitRows("directory_agents", uint64(6+2*i))
	}
	const want = "Name 0, Name 1, Name 2"
	if got := names(); got != want {
		t.Errorf("ws_a's agent was called %s, want %s", got, want)
	}
	stop()
	s.exec("TRUNCATE TABLE directory_agents")
	s.start()
	s.waitRows("directory_agents", 7)
	if got := names(); got != want {
		t.Errorf("read again, ws_a's agent was called %s, want %s", got, want)
	}
}
