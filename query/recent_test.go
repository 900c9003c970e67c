package query

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestWhatEveryRequestNeedsIsReadOnceInAMoment(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	s.config.ProgressMaxAge, s.config.WorkspaceMaxAge = time.Hour, time.Hour
	const path = "/v1/usage/dashboard?workspace=ws"
	before := ask[api.Dashboard](t, s, path)
	statements := testutil.CollectAndCount(s.metrics.statements)
	reads := testutil.ToFloat64(s.metrics.rows.WithLabelValues("progress"))
	w.register(t, memberNamed("ws", "ada", "Ada", frozen.Add(-time.Hour)))
	w.progress(t, frozen.Add(-time.Hour))
	after := ask[api.Dashboard](t, s, path)
	if !after.Freshness.CountedThrough.Equal(*before.Freshness.CountedThrough) || after.Summary.TeamMembers.Used != 0 {
		t.Errorf("within the moment: counted through %s, %d members", after.Freshness.CountedThrough, after.Summary.TeamMembers.Used)
	}
	if got := testutil.ToFloat64(s.metrics.rows.WithLabelValues("progress")); got != reads {
		t.Errorf("progress was read again: %v rows, then %v", reads, got)
	}
	if got := testutil.CollectAndCount(s.metrics.statements); got != statements {
		t.Errorf("%d kinds of statements, then %d", statements, got)
	}
	s.config.WorkspaceMaxAge = 0
	if got := ask[api.Dashboard](t, s, path); got.Summary.TeamMembers.Used != 1 {
		t.Errorf("after the moment: %d members", got.Summary.TeamMembers.Used)
	}
}

func TestWhatIsHeldOfWorkspacesIsBounded(t *testing.T) {
	t.Parallel()
	r := recently{workspaces: map[schemas.WorkspaceID]*workspaceBook{}}
	book := func(changes int, age time.Duration) *workspaceBook {
		return &workspaceBook{changes: changes, read: time.Now().Add(-age)}
	}
	for n := range 100 {
		age := time.Duration(0)
		if n%2 == 0 {
			age = time.Hour
		}
		r.keep(schemas.WorkspaceID(fmt.Sprint("ws_", n)), book(maxRecentChanges/50, age), time.Minute)
		if r.changes > maxRecentChanges {
			t.Fatalf("%d changes are held", r.changes)
		}
	}
	for n := 1; n < 100; n += 2 {
		if r.workspaces[schemas.WorkspaceID(fmt.Sprint("ws_", n))] == nil {
			t.Errorf("ws_%d was forgotten before those that are too old", n)
		}
	}
	sum := 0
	for _, held := range r.workspaces {
		sum += held.changes
	}
	if sum != r.changes {
		t.Errorf("%d changes are held and counted as %d", sum, r.changes)
	}
	r.keep("ws_giant", book(maxRecentChanges+1, 0), time.Minute)
	if r.workspaces["ws_giant"] != nil || len(r.workspaces) == 0 {
		t.Error("one giant pushes out everybody")
	}
	r.keep("ws_1", book(3, 0), time.Minute)
	r.keep("ws_1", book(5, 0), time.Minute)
	if r.changes > maxRecentChanges || r.workspaces["ws_1"].changes != 5 {
		t.Errorf("kept twice: %d", r.changes)
	}
}
