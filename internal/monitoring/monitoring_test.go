package monitoring

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"agentmeter/internal/slowtest"
)

var update = flag.Bool("update", false, "write the dashboards and the table's uses anew")

var (
	root      = filepath.Join("..", "..")
	alertsDir = filepath.Join(root, "deploy", "prometheus", "alerts")
	boardsDir = filepath.Join(root, "deploy", "grafana", "dashboards")
	document  = filepath.Join(root, "docs", "operations", "monitoring.md")
)

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func rules(t *testing.T) []Rule {
	t.Helper()
	rules, err := ReadRules(alertsDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) < 40 {
		t.Fatalf("only %d rules were found", len(rules))
	}
	return rules
}

func metrics(t *testing.T) []Metric {
	t.Helper()
	table, err := TableIn(read(t, document))
	if err != nil {
		t.Fatal(err)
	}
	metrics := ParseTable(table)
	if len(metrics) < 60 {
		t.Fatalf("only %d metrics were found in %s", len(metrics), document)
	}
	return metrics
}

func TestBoardsAreFresh(t *testing.T) {
	written, err := filepath.Glob(filepath.Join(boardsDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range Boards() {
		want, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(boardsDir, strings.TrimPrefix(b.UID, "agentmeter-")+".json")
		written = slices.DeleteFunc(written, func(other string) bool { return other == name })
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if read(t, name) != string(want) {
			t.Errorf("%s is not what boards.go says: go generate ./internal/monitoring", name)
		}
	}
	if len(written) > 0 {
		t.Errorf("%v are boards that boards.go does not know", written)
	}
}

// Grafana takes a board whose ids clash, and shows half of it.
func TestBoardsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range Boards() {
		text, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var board grafanaBoard
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&board); err != nil {
			t.Fatal(err)
		}
		if board.UID == "" || len(board.UID) > 40 || seen[board.UID] || seen[board.Title] {
			t.Errorf("%s: uid and title have to be there, short and unique", board.Title)
		}
		seen[board.UID], seen[board.Title] = true, true
		if list := board.Templating.List; len(list) != 1 || list[0].Name != "datasource" || list[0].Type != "datasource" {
			t.Errorf("%s: no variable for the data source", board.UID)
		}
		ids, titles, heading := map[int]bool{}, map[string]bool{}, ""
		var taken [1000][gridColumns]bool
		for _, p := range board.Panels {
			if p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: panel id %d is there twice", board.UID, p.ID)
			}
			ids[p.ID] = true
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
					if taken[y][x] {
						t.Fatalf("%s: %s covers another panel", board.UID, p.Title)
					}
					taken[y][x] = true
				}
			}
			if p.Type == "row" {
				heading = p.Title
				continue
			}
			if name := heading + "/" + p.Title; p.Title == "" || titles[name] {
				t.Errorf("%s: %q is there twice", board.UID, name)
			} else {
				titles[name] = true
			}
			if p.Datasource == nil || *p.Datasource != datasource || len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s: %s lacks data source, query or unit", board.UID, p.Title)
			}
			refs := map[string]bool{}
			for _, target := range p.Targets {
				if refs[target.RefID] || target.Expr == "" || target.Datasource != datasource {
					t.Errorf("%s: %s has a query without its own letter, expression or data source", board.UID, p.Title)
				}
				refs[target.RefID] = true
			}
		}
	}
}

// A rule about a metric that nobody exports never fires, and a metric that
// nobody looks at is exported for nothing. That the table says what processes
// export is held by the tests of the whole product.
func TestWhatIsExportedIsUsedAndTheOtherWayRound(t *testing.T) {
	exported := map[string]bool{}
	for _, m := range metrics(t) {
		exported[m.Name] = true
		for _, label := range m.Labels {
			if slices.Contains([]string{"workspace", "agent", "workspace_id", "agent_id", "id", "path", "token", "trace_id"}, label) {
				t.Errorf("%s has a label without bounds: %s", m.Name, label)
			}
		}
	}
	all := rules(t)
	for _, r := range all {
		if r.Record != "" {
			exported[r.Record] = true
		}
	}
	uses := UsesOf(all, Boards())
	for _, by := range []map[string][]string{uses.Alerts, uses.Boards} {
		for name, users := range by {
			if !exported[name] {
				t.Errorf("%v: nobody exports %s", users, name)
			}
		}
	}
	for name := range exported {
		if len(uses.Alerts[name])+len(uses.Boards[name]) == 0 {
			t.Errorf("%s is in no alert and on no board", name)
		}
	}
}

func TestTableOfMetricsSaysWhoUsesThem(t *testing.T) {
	content := read(t, document)
	table, err := TableIn(content)
	if err != nil {
		t.Fatal(err)
	}
	want := Table(ParseTable(table), UsesOf(rules(t), Boards()))
	if table == want {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not fresh: go test ./internal/monitoring -update", document)
	}
	content, err = WithTable(content, want)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(document, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEachAlertHasARunbookAndEachRunbookAnAlert(t *testing.T) {
	runbooks := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "deploy", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		runbooks[strings.TrimSuffix(filepath.Base(file), ".md")] = true
	}
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s: severity is %q, want page or ticket", r.Alert, severity)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: without summary or description", r.Alert)
		}
		if url := "deploy/runbooks/" + r.Alert + ".md"; r.Annotations["runbook_url"] != url || !runbooks[r.Alert] {
			t.Errorf("%s: no runbook at %s", r.Alert, url)
		}
	}
	for name := range runbooks {
		if !seen[name] {
			t.Errorf("deploy/runbooks/%s.md is of no alert", name)
			continue
		}
		text := read(t, filepath.Join(root, "deploy", "runbooks", name+".md"))
		last := -1
		for _, heading := range []string{"# " + name + "\n", "\n**Symptom.** ", "\n**Impact.** ", "\n## Check\n", "\n## Fix\n", "\n## Escalate\n"} {
			at := strings.Index(text, heading)
			if at <= last && heading[0] != '#' || at < 0 {
				t.Errorf("%s: no %q in its place", name, strings.TrimSpace(heading))
			}
			last = at
		}
	}
}

// Each alert is seen firing in a rule test, and staying quiet.
func TestEachAlertIsSeenFiringAndQuiet(t *testing.T) {
	firing, quiet := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob(filepath.Join(alertsDir, "*_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var document struct {
			Tests []struct {
				Cases []struct {
					Alert  string           `yaml:"alertname"`
					Alerts []map[string]any `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &document); err != nil {
			t.Fatal(err)
		}
		for _, test := range document.Tests {
			for _, c := range test.Cases {
				if len(c.Alerts) > 0 {
					firing[c.Alert] = true
				} else {
					quiet[c.Alert] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && (!firing[r.Alert] || !quiet[r.Alert]) {
			t.Errorf("%s: seen firing: %t, seen quiet: %t", r.Alert, firing[r.Alert], quiet[r.Alert])
		}
	}
}

// promtool is Prometheus's own tool, of Debian's package prometheus.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err == nil {
		return path
	}
	if os.Getenv("AGENTMETER_REQUIRE_PROMETHEUS") != "" {
		t.Fatal("promtool is not installed (apt-get install prometheus)")
	}
	t.Skip("SKIPPED: promtool is not installed (apt-get install prometheus), so the rules were not tried")
	return ""
}

func TestRulesDoWhatTheirTestsSay(t *testing.T) {
	tool := promtool(t)
	files, err := filepath.Glob(filepath.Join(alertsDir, "*_test.yml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no rule tests", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), "_test.yml")
		t.Run(name, func(t *testing.T) {
			if slices.Contains([]string{"counting", "counting_days", "slo", "slo_days"}, name) {
				slowtest.Begin(t) // hours and days, minute by minute
			}
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), tool, "test", "rules", file).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// Prometheus reads the rules, and what the panels ask.
func TestExpressionsParse(t *testing.T) {
	tool := promtool(t)
	files, err := RuleFiles(alertsDir)
	if err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var panels []rule
	for _, b := range Boards() {
		for _, row := range b.Rows {
			for _, p := range row.Panels {
				for _, q := range p.Queries {
					panels = append(panels, rule{fmt.Sprintf("panel:%d", len(panels)), q.Plain()})
				}
			}
		}
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": panels}}})
	if err != nil {
		t.Fatal(err)
	}
	panelsFile := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(panelsFile, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, append([]string{"check", "rules", panelsFile}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), tool, "check", "config", "--syntax-only", filepath.Join(root, "deploy", "prometheus", "prometheus.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// prometheus.yml names each file of rules, since a pattern would take the tests too.
func TestPrometheusReadsEachFileOfRules(t *testing.T) {
	var config struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(root, "deploy", "prometheus", "prometheus.yml"))), &config); err != nil {
		t.Fatal(err)
	}
	files, err := RuleFiles(alertsDir)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		want = append(want, "alerts/"+filepath.Base(file))
	}
	slices.Sort(config.RuleFiles)
	if !slices.Equal(config.RuleFiles, want) {
		t.Errorf("prometheus.yml reads %v, want %v", config.RuleFiles, want)
	}
}
