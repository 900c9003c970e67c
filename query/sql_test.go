package query

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; go test -update rewrites it. Got\n%s", path, got)
	}
}

// shown is a statement as it is sent, with its parameters.
func shown(sql string, params map[string]string) string {
	var b strings.Builder
	b.WriteString(sql)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "-- %s = %s\n", name, params[name])
	}
	return b.String()
}

// frozen is the clock of the golden files.
var frozen = time.Date(2026, 11, 24, 14, 32, 5, 0, time.UTC)

// asOfFrozen makes a question as the dashboard does.
func asOfFrozen(t *testing.T, zoneName, agent string, asked asked, grain calendar.Grain, compare calendar.Comparison) question {
	t.Helper()
	zone, err := calendar.LoadZone(zoneName)
	if err != nil {
		t.Fatal(err)
	}
	r, err := asked.resolve(frozen, zone, 1)
	if err != nil {
		t.Fatal(err)
	}
	st := &standing{now: frozen, zone: zone, rng: r}
	grain, edges, err := cutIntoBars(r, grain)
	if err != nil {
		t.Fatal(err)
	}
	return st.question(usageRequest{workspace: "ws_acme", agent: agent, compare: compare}, grain, edges)
}

func datesAsked(from, to string) asked {
	a := asked{dates: true}
	a.from, _ = calendar.ParseDate(from)
	a.to, _ = calendar.ParseDate(to)
	return a
}

func instantsAsked(start, end string) asked {
	var a asked
	a.start, _ = time.Parse(time.RFC3339, start)
	a.end, _ = time.Parse(time.RFC3339, end)
	return a
}

func TestStatementsAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	counted := watermark{countedThrough: frozen.Add(-time.Second)}
	tests := []struct {
		name string
		q    question
	}{
		{"utc_days", asOfFrozen(t, "UTC", "", asked{preset: calendar.Last30Days}, "", calendar.NoComparison)},
		{"copenhagen_days_compared", asOfFrozen(t, "Europe/Copenhagen", "", asked{preset: calendar.Last30Days}, "", calendar.Previous)},
		{"kathmandu_one_agent", asOfFrozen(t, "Asia/Kathmandu", "agt_support", datesAsked("2026-11-20", "2026-11-22"), calendar.Day, calendar.YearOverYear)},
		{"weeks_overlapping_the_year_before", asOfFrozen(t, "Europe/Copenhagen", "", datesAsked("2025-06-01", "2026-11-22"), calendar.Month, calendar.YearOverYear)},
		{"minutes_old_and_new", asOfFrozen(t, "UTC", "", instantsAsked("2026-10-25T14:00:00Z", "2026-10-25T15:00:00Z"), calendar.Minute, calendar.NoComparison)},
		{"today_by_hours", asOfFrozen(t, "America/St_Johns", "", asked{preset: calendar.Today}, "", calendar.PreviousByWeekday)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := usageStatement(tt.q, true)
			golden(t, "sql/"+tt.name+"_usage.sql", shown(b.sql(), b.params))
			b, sql := surroundingsStatement(tt.q, historyEdges(tt.q, counted), tt.q.interval.End)
			golden(t, "sql/"+tt.name+"_context.sql", shown(sql, b.params))
			pieces, ok := piecesOfQuestion(tt.q, historyEdges(tt.q, counted))
			if !ok {
				t.Fatal("it cannot be answered from what is held")
			}
			units := map[unit]bool{}
			for _, p := range pieces {
				if !p.fromTotals() {
					units[p.unit] = true
				}
			}
			for i, round := range roundsOf(slices.Collect(maps.Keys(units))) {
				b = unitsStatement(tt.q, round)
				golden(t, fmt.Sprintf("sql/%s_units_%d.sql", tt.name, i), shown(b.sql(), b.params))
			}
		})
	}
	q := tests[2].q
	b, sql := reconcileStatement(q)
	golden(t, "sql/reconcile.sql", shown(sql, b.params))
	everywhere, params := tiersStatement(q, tiersOf(q), scope{})
	golden(t, "sql/reconcile_tiers.sql", shown(everywhere, params))
	for _, name := range []string{"progress", "workspace", "directory", "spenders", "streams", "ready"} {
		golden(t, "sql/"+name+".sql", render(name, nil))
	}
	b = hoursStatement(q.workspace, frozen.Truncate(time.Hour).Unix())
	golden(t, "sql/hours.sql", shown(hoursSQL, b.params))
	golden(t, "sql/tests.sql", shown(testsSQL, wholeOf(q.workspace, playgroundTests).params))
	for by, column := range breakdownColumns {
		golden(t, "sql/breakdown_"+string(by)+".sql", render("breakdown", map[string]any{"Key": column, "OneAgent": by == api.ByModel}))
	}
}

// The golden files are no more than text; this runs each statement's shape.
func TestEveryShapeOfStatementRunsOnTheEngine(t *testing.T) {
	slowtest.Begin(t)
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	ctx := t.Context()
	for _, agent := range []string{"", "агент\t`'\"\\"} {
		for i, compare := range calendar.Comparisons {
			for _, a := range []asked{
				{preset: calendar.Last90Days},
				datesAsked("1970-01-01", "1970-01-03"),
				datesAsked("2105-12-30", "2105-12-31"),
				datesAsked("2025-06-01", "2026-11-22"),
				instantsAsked("2026-09-25T14:03:00Z", "2026-09-25T16:11:00Z"),
				instantsAsked("2026-11-24T09:03:00Z", "2026-11-24T11:11:00Z"),
			} {
				for _, zone := range []string{"UTC", "Asia/Kathmandu"} {
					q := asOfFrozen(t, zone, agent, a, "", compare)
					if _, err := s.figuresOf(ctx, "test", q, true); err != nil {
						t.Fatalf("usage of %v: %v", a, err)
					}
					history := historyEdges(q, watermark{countedThrough: frozen})
					if _, err := s.surroundingsOf(ctx, "test", q, history, q.interval.End); err != nil {
						t.Fatalf("context of %v: %v", a, err)
					}
					if i > 0 {
						continue // what is reconciled is compared with no other range
					}
					if _, err := s.reconciliationOf(ctx, "test", q); err != nil {
						t.Fatalf("reconcile %v: %v", a, err)
					}
					one := scope{here: true, stream: w.stream, partition: 1}
					for _, place := range []scope{{}, one, {elsewhere: []scope{one}}} {
						if _, err := s.compareTiers(ctx, "test", q, tiersOf(q), place); err != nil {
							t.Fatalf("compare tiers of %v: %v", a, err)
						}
					}
				}
			}
		}
	}
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestNotReadyWithoutTheTables(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	w.exec(t, "DROP TABLE usage_quarter_view", nil)
	w.exec(t, "DROP TABLE usage_quarter", nil)
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "agentmeter migrate") {
		t.Errorf("ready without a table: %v", err)
	}
}

// The tables that the readiness check asks for are those that the families read.
func TestReadinessAsksForEveryTable(t *testing.T) {
	t.Parallel()
	sql := render("ready", nil)
	if n := strings.Count(sql, "'") / 2; n != requiredTables {
		t.Errorf("ready.sql names %d tables, the check expects %d", n, requiredTables)
	}
	for _, f := range []family{usageByAgent, usageByWorkspace, playgroundTests} {
		for _, table := range f.tables {
			if !strings.Contains(sql, "'"+table+"'") {
				t.Errorf("ready.sql does not ask for %s", table)
			}
		}
	}
}

func TestEdgesBefore1970AreOneBar(t *testing.T) {
	t.Parallel()
	at := func(hours int) time.Time { return time.Unix(int64(hours)*3600, 0) }
	edges := []time.Time{at(-30), at(-10), at(-1), at(23), at(47)}
	if got, want := edgeList(edges), "[0,82800,169200]"; got != want {
		t.Errorf("edges %s, want %s", got, want)
	}
	x := indexOf(edges)
	for start, want := range map[uint32]int{0: 2, 82800: 3} {
		if got, ok := x.find(start); !ok || got != want {
			t.Errorf("the bar from %d is number %d, %v; want %d", start, got, ok, want)
		}
	}
	if got := cellList([]time.Time{at(-24), at(0), at(24)}, schemas.StepDay); got != "[0,1]" {
		t.Errorf("cells %s, want those from 1970 on", got)
	}
}
