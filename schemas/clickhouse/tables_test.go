package clickhouse

import (
	"io/fs"
	"strings"
	"testing"
)

func allSQL(t *testing.T) string {
	t.Helper()
	names, err := fs.Glob(Migrations, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d migrations, %v", len(names), err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := fs.ReadFile(Migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestRollupsAreTheOnesThatTheMigrationsCreate(t *testing.T) {
	sql := allSQL(t)
	for _, rollup := range Rollups {
		_, view, found := strings.Cut(sql, "CREATE MATERIALIZED VIEW IF NOT EXISTS "+rollup.Table+"_view TO "+rollup.Table+" AS")
		if !found {
			t.Errorf("no view fills %s", rollup.Table)
			continue
		}
		view, _, _ = strings.Cut(view, ";")
		if !strings.Contains(view, rollup.Bucket+" AS time") {
			t.Errorf("the view of %s does not compute its bucket as %s", rollup.Table, rollup.Bucket)
		}
		if strings.Contains(view, "agent,") != rollup.ByAgent || strings.Contains(view, "AS credits") != rollup.Credits {
			t.Errorf("the view of %s has other columns than its description", rollup.Table)
		}
		if !strings.Contains(view, "outcome IN ("+rollup.Outcomes+")") && !strings.Contains(view, "outcome = "+rollup.Outcomes) {
			t.Errorf("the view of %s does not take the outcomes %s", rollup.Table, rollup.Outcomes)
		}
	}
	if views := strings.Count(sql, "CREATE MATERIALIZED VIEW"); views != len(Rollups)+1 {
		t.Errorf("%d views are created and %d described (one more is the id look-up): one that reconcile does not know stays wrong after a crash", views, len(Rollups))
	}
}

func TestTheViewOfIDsComputesTheirKey(t *testing.T) {
	_, view, found := strings.Cut(allSQL(t), "CREATE MATERIALIZED VIEW IF NOT EXISTS "+IDs+"_view TO "+IDs+" AS")
	view, _, _ = strings.Cut(view, ";")
	if !found || !strings.Contains(view, IDKey+" AS id_key,") || !strings.Contains(view, "WHERE "+Recorded) {
		t.Errorf("the view of %s is%s", IDs, view)
	}
}

func TestMigrationsAreIdempotent(t *testing.T) {
	for _, line := range strings.Split(allSQL(t), "\n") {
		if strings.HasPrefix(line, "CREATE ") && !strings.Contains(line, " IF NOT EXISTS ") {
			t.Errorf("not safe to run twice: %s", line)
		}
	}
}
