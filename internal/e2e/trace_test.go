package e2e

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// The trace and its answer, which was counted without any of our code.
const (
	traceFile      = "../../testdata/trace/llm_conversations_2023.ndjson.gz"
	traceEvents    = "19366"
	traceCredits   = "48473.5"
	traceMessages  = "17454"
	tracePlay      = "1912"
	traceTopAgent  = "agt_support"
	traceTopAmount = "16586.5"
	traceDay       = "from=2023-11-16&to=2023-11-16"
)

// add sums decimal strings exactly.
func add(t *testing.T, sum *schemas.CreditsSum, text string) {
	t.Helper()
	c, err := schemas.ParseCredits(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	*sum = sum.Plus(schemas.SumOf(c))
}

// checkTrace checks every way to read the trace's day, and the audit.
func checkTrace(t *testing.T, queryBase, token, clickhouse string, audit []string) {
	t.Helper()
	d := readDashboard(t, queryBase, token, "ws_trace", traceDay)
	if d.Summary.Credits != traceCredits || d.Summary.Messages != traceMessages {
		t.Errorf("headline: %s credits and %s messages, want %s and %s", d.Summary.Credits, d.Summary.Messages, traceCredits, traceMessages)
	}
	if d.PlaygroundMessages != tracePlay || d.RecordedEvents != traceEvents {
		t.Errorf("%s Playground messages of %s recorded events, want %s of %s", d.PlaygroundMessages, d.RecordedEvents, tracePlay, traceEvents)
	}
	if len(d.Agents) != 10 || d.Agents[0].ID != traceTopAgent || d.Agents[0].Credits != traceTopAmount {
		t.Errorf("leaderboard of %d is led by %+v, want 10 led by %s with %s", len(d.Agents), d.Agents[0], traceTopAgent, traceTopAmount)
	}
	if d.Completeness != "complete" {
		t.Errorf("completeness %s, want complete", d.Completeness)
	}
	for _, grain := range []string{"hour", "day", "auto"} {
		d := readDashboard(t, queryBase, token, "ws_trace", traceDay+"&grain="+grain)
		var bars, agents, shares schemas.CreditsSum
		for _, bar := range d.Series {
			add(t, &bars, *bar.Credits)
		}
		for _, agent := range d.Agents {
			add(t, &agents, agent.Credits)
			add(t, &shares, agent.Share)
		}
		if bars.String() != traceCredits || agents.String() != traceCredits || shares.String() != "100" {
			t.Errorf("grain %s: bars sum to %s, agents to %s, shares to %s; want %s, %s, 100", grain, bars, agents, shares, traceCredits, traceCredits)
		}
	}

	status, content := call(t, http.MethodGet, queryBase+"/v1/usage/export.csv?workspace=ws_trace&"+traceDay, token, nil)
	if status != http.StatusOK {
		t.Fatalf("CSV: status %d: %s", status, content)
	}
	records, err := csv.NewReader(strings.NewReader(string(content))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(records[0], ","), "start,end,agent_id,agent_name,credits,messages,state"; got != want {
		t.Errorf("CSV header %s, want %s", got, want)
	}
	var exported schemas.CreditsSum
	for _, record := range records[1:] {
		add(t, &exported, record[4])
	}
	if exported.String() != traceCredits {
		t.Errorf("CSV sums to %s, want %s", exported, traceCredits)
	}

	got := sql(t, clickhouse, `SELECT sum(credits), sum(messages), count() FROM usage_ledger WHERE workspace = 'ws_trace' AND outcome = 'counted' FORMAT TSV`)
	if want := "48473500000\t17454\t17454"; got != want {
		t.Errorf("ledger: %s; want %s (millionths, messages, events)", got, want)
	}
	if code, stdout, stderr := agentmeter(t, audit...); code != 0 {
		t.Errorf("audit: exit status %d\n%s%s", code, stdout, stderr)
	}
}

func waitTrace(p *process, queryBase, token string) {
	p.t.Helper()
	p.waitFor("to count the trace", countPatience, func() error {
		d := readDashboard(p.t, queryBase, token, "ws_trace", traceDay)
		if d.RecordedEvents == traceEvents && d.Completeness == "complete" { // how far it is counted is published after it is
			return nil
		}
		return notYetError{fmt.Sprintf("%s events, %s", d.RecordedEvents, d.Completeness)}
	})
}

// notYetError is what there was instead of what is waited for.
type notYetError struct{ found string }

func (e notYetError) Error() string { return "found " + e.found }

func TestTraceIsCountedToTheCreditAndAgainChangesNothing(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	i := runOn(t, dir)
	token := i.token("ws_trace", "usage:read")
	audit := []string{"audit", "--data-dir", dir}

	out := mustAgentmeter(t, "import", "--data-dir", dir, traceFile)
	if !strings.Contains(out, traceEvents+" accepted, 0 rejected") {
		t.Errorf("import said %q", out)
	}
	waitTrace(i.process, i.endpoints.HTTP, token)
	checkTrace(t, i.endpoints.HTTP, token, i.endpoints.ClickHouse, audit)

	mustAgentmeter(t, "import", "--data-dir", dir, traceFile)
	i.waitFor("to see the copies", countPatience, func() error {
		if n := sql(t, i.endpoints.ClickHouse, `SELECT count() FROM usage_ledger WHERE outcome = 'duplicate' FORMAT TSV`); n != traceEvents {
			return notYetError{n}
		}
		return nil
	})
	checkTrace(t, i.endpoints.HTTP, token, i.endpoints.ClickHouse, audit)

	// And the same after an orderly stop: on the stopped directory, and again
	// running.
	i.stop()
	if code, stdout, stderr := agentmeter(t, audit...); code != 0 {
		t.Errorf("audit of the stopped directory: exit status %d\n%s%s", code, stdout, stderr)
	}
	i = runOn(t, dir)
	checkTrace(t, i.endpoints.HTTP, i.token("ws_trace", "usage:read"), i.endpoints.ClickHouse, audit)
}

func TestTraceSurvivesKillInTheMiddleOfItsImport(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	i := runOn(t, dir)
	stateDir := t.TempDir() // the import's own progress file
	t.Setenv("XDG_CACHE_HOME", cacheWithEngine(t, stateDir))

	importing := start(t, "import", "--data-dir", dir, "--batch-events", "50", "--retry-for", "60s", traceFile)
	i.waitFor("to count the first events", countPatience, func() error {
		if n := sql(t, i.endpoints.ClickHouse, `SELECT count() FROM usage_ledger FORMAT TSV`); n == "0" {
			return notYetError{n}
		}
		return nil
	})
	select {
	case <-importing.ended:
		t.Fatal("the import was over before it could be disturbed; use smaller batches")
	default:
	}
	i.kill()
	// The stopped directory is exact, too: what the kill left short is repaired
	// as a start would repair it.
	if code, stdout, stderr := agentmeter(t, "audit", "--data-dir", dir); code != 0 {
		t.Errorf("audit after kill -9: exit status %d\n%s%s", code, stdout, stderr)
	}
	i = runOn(t, dir)
	select {
	case <-importing.ended:
		if importing.err != nil {
			t.Fatalf("the import did not outlive the restart: %v", importing.err)
		}
	case <-t.Context().Done():
		t.Fatal("the import did not end")
	}
	token := i.token("ws_trace", "usage:read")
	waitTrace(i.process, i.endpoints.HTTP, token)
	checkTrace(t, i.endpoints.HTTP, token, i.endpoints.ClickHouse, []string{"audit", "--data-dir", dir})
}

// cacheWithEngine makes a cache directory of the test's own in which the
// engine's library is found all the same.
func cacheWithEngine(t *testing.T, dir string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "agentmeter"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(cache, "agentmeter", "chdb"), filepath.Join(dir, "agentmeter", "chdb")); err != nil {
		t.Fatal(err)
	}
	return dir
}
