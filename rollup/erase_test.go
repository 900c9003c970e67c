package rollup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// Cut off after each of its steps, and with a repair in between that puts into
// the rollups what the ledger has not any more (which is less than nothing), an
// erasure that is run again leaves nothing of the workspace, and all of the
// others.
func TestErasureCanBeCutOffAfterEachStep(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	stop := s.start()
	events := testEvents(400)
	s.produce(events...)
	s.waitCounted()
	stop()
	gone := events[0].Workspace
	want := s.spentByAllBut(gone)

	errCut := errors.New("cut off")
	steps := 0
	for cut := 1; ; cut++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		said := 0
		err := EraseWorkspaces(ctx, s.client, one(gone), func(line string) {
			if said++; said == cut {
				if strings.HasPrefix(line, "usage_ledger") { // the rollups have what the ledger has not
					if _, err := Rebuild(t.Context(), s.client, RebuildOptions{}); err != nil {
						t.Error(err)
					}
				}
				cancel(errCut)
			}
		})
		cancel(nil)
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		steps++
	}
	if steps < 3 {
		t.Errorf("it was cut off %d times", steps)
	}
	remains, err := LookAtWorkspaces(t.Context(), s.client, one(gone))
	if err != nil || !remains.Begun[gone] || len(remains.Tables) > 0 {
		t.Errorf("%v: %+v remain", err, remains)
	}
	if got := s.spentByAllBut(gone); got != want {
		t.Errorf("the others' figures were %s and are %s", want, got)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}

	// What is sent from now on is as good as not there, whichever way it comes.
	s.start()
	events[0].Credits++ // another payload
	late := testEvents(500)
	s.produce(append(events[:100], late[400:]...)...)
	s.waitCounted()
	remains, err = LookAtWorkspaces(t.Context(), s.client, one(gone))
	if err != nil || len(remains.Tables) > 0 {
		t.Errorf("%v: %+v came back", err, remains)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
}

// A repair that began before the ledger was blank and ends once its rollup is
// empty puts the difference there: less than nothing.
func TestErasureWaitsForRepairsThatRunBesideIt(t *testing.T) {
	s := newStack(t)
	stop := s.start()
	events := testEvents(100)
	s.produce(events...)
	s.waitCounted()
	stop()
	gone := events[0].Workspace
	err := EraseWorkspaces(t.Context(), s.client, one(gone), func(line string) {
		if strings.HasPrefix(line, "usage_day") {
			mustExec(t, s.client, "INSERT INTO usage_minute SELECT '"+string(gone)+"', now(), 'agt', stream, 0, -1, -1, -1 FROM usage_streams")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if remains, err := LookAtWorkspaces(t.Context(), s.client, one(gone)); err != nil || len(remains.Tables) > 0 {
		t.Errorf("%v: %+v remain", err, remains)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
}

// However many events were erased before, an erasure looks at the look-up's ids a
// bounded number of erased offsets at a time, and where earlier erasures have
// ended it looks at none.
func TestErasureKeepsABoundedNumberOfOffsetsInMemory(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	stop := s.start()
	events := testEvents(600)
	for i := range events {
		events[i].Workspace = schemas.WorkspaceID(fmt.Sprintf("ws_'%d\\", i%3))
	}
	s.produce(events...)
	s.waitCounted()
	stop()
	bounds := eraseBounds{slot: 10, offsets: 25, stretches: 2}
	want := s.spentByAllBut("ws_'0\\")
	first := newEraser(s.client, one("ws_'0\\"))
	first.bounds = bounds
	batches := 0
	first.progress = func(line string) {
		if !strings.HasPrefix(line, "usage_ledger") {
			return
		}
		suspects, err := first.suspectIDs(t.Context())
		if err != nil {
			t.Error(err)
		}
		erased := int64(0)
		for _, batch := range suspects {
			held := int64(0)
			for _, stretch := range batch.Stretches {
				held += stretch.erased
			}
			if held > bounds.offsets || len(batch.Stretches) > bounds.stretches {
				t.Errorf("a statement holds %d offsets of %d stretches", held, len(batch.Stretches))
			}
			erased += held
		}
		if erased != 200 {
			t.Errorf("it looks at %d erased events, want 200", erased)
		}
		batches = len(suspects)
	}
	if err := first.erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if batches < 8 {
		t.Errorf("200 erased events were looked at in %d statements", batches)
	}
	if suspects, err := first.suspectIDs(t.Context()); err != nil || len(suspects) > 0 {
		t.Errorf("%v: %d statements look at what is erased already", err, len(suspects))
	}
	if got := s.spentByAllBut("ws_'0\\"); got != want {
		t.Errorf("the others' figures were %s and are %s", want, got)
	}
	if report := s.audit(); !report.Exact || report.Outcomes["erased"] != 200 {
		t.Errorf("not exact: %+v", report)
	}

	// Where one id is held twice and another is missing there is still one to remove.
	mustExec(t, s.client, "INSERT INTO usage_id_places SELECT 1, stream, partition, offset FROM usage_ledger WHERE outcome = 'erased' LIMIT 1")
	mustExec(t, s.client, "DELETE FROM usage_id_places WHERE (stream, partition, offset) IN (SELECT stream, partition, offset FROM usage_ledger WHERE outcome = 'counted' LIMIT 1) SETTINGS lightweight_deletes_sync = 2")
	remains, err := LookAtWorkspaces(t.Context(), s.client, one("ws_'0\\"))
	if err != nil || remains.Tables["usage_id_places"] != 1 {
		t.Errorf("%v: %+v remain, want one id", err, remains)
	}

	// Several at once.
	if err := EraseWorkspaces(t.Context(), s.client, []schemas.WorkspaceID{"ws_'1\\", "ws_'2\\"}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, table := range ErasableTables() {
		rows, err := countOf(t.Context(), s.client, clickhouse.Statement{SQL: "SELECT toInt64(count()) FROM " + table})
		want := int64(0)
		if table == "usage_ledger" {
			want = 600
		}
		if err != nil || rows != want {
			t.Errorf("%v: %s has %d rows", err, table, rows)
		}
	}
}

// Of an erased workspace no dead letter is sent, and none is counted as sent.
func TestErasedWorkspacesHaveNoDeadLetters(t *testing.T) {
	s := newStack(t)
	if err := EraseWorkspaces(t.Context(), s.client, one("ws_gone"), func(string) {}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	stop := s.run(DefaultConfig(), s.client, registry)
	for _, workspace := range []schemas.WorkspaceID{"ws_gone", "ws_stays", "ws_gone"} {
		record := &kgo.Record{Topic: kafka.TopicEvents, Key: schemas.RecordKey(workspace, "e1"), Value: []byte("none")}
		if err := s.producer.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.waitCounted()
	stop()
	letters, err := kafka.Find(t.Context(), s.kafka.Options(s.log), kafka.TopicDeadLetter, func(*kgo.Record) bool { return true })
	if err != nil || letters.Dropped != 1 {
		t.Errorf("%v: %d letters were sent, want 1", err, letters.Dropped)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	said := 0.0
	for _, family := range families {
		if family.GetName() == "agentmeter_rollup_dead_letters_total" {
			for _, metric := range family.GetMetric() {
				said += metric.GetCounter().GetValue()
			}
		}
	}
	if said != 1 {
		t.Errorf("%v letters are said to be sent, want 1", said)
	}
}

func one(workspace schemas.WorkspaceID) []schemas.WorkspaceID {
	return []schemas.WorkspaceID{workspace}
}

// spentByAllBut is what everybody but a workspace spent, by each rollup.
func (s *stack) spentByAllBut(other schemas.WorkspaceID) string {
	s.t.Helper()
	var all []string
	for _, table := range []string{"usage_minute", "usage_quarter", "usage_hour", "usage_day", "usage_workspace_hour", "usage_ledger"} {
		var sum string
		err := s.client.Conn().QueryRow(s.t.Context(), "SELECT concat(toString(count(DISTINCT workspace)), ' ', toString(sum(credits))) FROM "+table+" WHERE workspace NOT IN (?, '')", string(other)).Scan(&sum)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, table+" "+sum)
	}
	return strings.Join(all, ", ")
}
