package rollup

import (
	"context"
	"errors"
	"strings"
	"testing"

	"agentmeter/schemas"
)

// Cut off after each of its steps, and with a repair in between that puts into
// the rollups what the ledger has not any more (which is less than nothing), an
// erasure that is run again leaves nothing of the workspace, and all of the
// others.
func TestErasureCanBeCutOffAfterEachStep(t *testing.T) {
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
		err := EraseWorkspace(ctx, s.client, gone, func(line string) {
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
	remains, err := LookAtWorkspace(t.Context(), s.client, gone)
	if err != nil || !remains.Begun || len(remains.Tables) > 0 {
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
	remains, err = LookAtWorkspace(t.Context(), s.client, gone)
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
	err := EraseWorkspace(t.Context(), s.client, gone, func(line string) {
		if strings.HasPrefix(line, "usage_day") {
			mustExec(t, s.client, "INSERT INTO usage_minute SELECT '"+string(gone)+"', now(), 'agt', stream, 0, -1, -1, -1 FROM usage_streams")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if remains, err := LookAtWorkspace(t.Context(), s.client, gone); err != nil || len(remains.Tables) > 0 {
		t.Errorf("%v: %+v remain", err, remains)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
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
