package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"agentmeter/internal/monitoring"
	"agentmeter/internal/slowtest"
)

var update = flag.Bool("update", false, "write the table of metrics in docs/operations/monitoring.md anew")

const monitoringDocument = "../../docs/operations/monitoring.md"

// rare are metrics that only show once something happens to a connection.
var rare = []monitoring.Metric{
	{Name: "agentmeter_kafka_disconnects_total", Type: "counter", Labels: []string{"node_id", "role"}, Help: "Total number of connections closed"},
	{Name: "agentmeter_kafka_connect_errors_total", Type: "counter", Labels: []string{"node_id", "role"}, Help: "Total number of connection errors"},
	{Name: "agentmeter_kafka_read_errors_total", Type: "counter", Labels: []string{"node_id", "role"}, Help: "Total number of read errors"},
	{Name: "agentmeter_kafka_write_errors_total", Type: "counter", Labels: []string{"node_id", "role"}, Help: "Total number of write errors"},
	{Name: "agentmeter_kafka_request_throttled_seconds", Type: "histogram", Labels: []string{"node_id", "role"}, Help: "Time the request was throttled"},
}

// A stack of single roles and one of agentmeter run, which have both been used:
// what they export is what is documented, on boards and in alerts, and a real
// Prometheus evaluates all of it.
func TestWhatIsExportedIsDocumentedAndWatched(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	_, kafka := startPrinted(t, "broker", "--data-dir", dir, "--kafka-listen", "127.0.0.1:0")
	_, clickhouse := startPrinted(t, "engine", "--data-dir", dir, "--clickhouse-listen", "127.0.0.1:0")
	mustAgentmeter(t, "migrate", "--kafka", kafka, "--clickhouse", clickhouse)
	key := filepath.Join(dir, "access.key")
	_, ingest := startStage(t, "ingest", "--kafka", kafka, "--token-key-file", key)
	_, query := startStage(t, "query", "--clickhouse", clickhouse, "--token-key-file", key)
	rollup, counting := startStage(t, "rollup", "--kafka", kafka, "--clickhouse", clickhouse, "--token-key-file", key, "--audit-interval", "1s")
	token := func(flags ...string) string {
		return strings.TrimSpace(mustAgentmeter(t, append([]string{"token", "--workspace", "ws_seen", "--scope", "events:write,usage:read"}, flags...)...))
	}
	everything := runOn(t, t.TempDir(), "--audit-interval", "1s")

	write := token("--token-key-file", key)
	beUsed(t, rollup, ingest, query, write)
	beUsed(t, everything.process, everything.endpoints.HTTP, everything.endpoints.HTTP, token("--data-dir", everything.dir))
	targets := map[string]string{"ingest": ingest, "rollup": counting, "query": query, "run": everything.endpoints.HTTP}
	// What comes after the figures: the letters of what could not be counted, what is
	// known of ids, and an audit of partitions that were assigned by then.
	rollup.waitFor("to have done all that it does", countPatience, func() error {
		for _, role := range []string{"rollup", "run"} {
			exported := scrape(t, targets[role])
			for _, name := range []string{
				"agentmeter_rollup_id_filter_ids", "agentmeter_audit_position", "agentmeter_audit_log_end_offset",
				"agentmeter_audit_duration_seconds", "agentmeter_audit_last_success_timestamp_seconds",
			} {
				if exported[name] == nil {
					return notYetError{role + " without " + name}
				}
			}
			if !slices.ContainsFunc(exported["agentmeter_rollup_dead_letters_total"].GetMetric(), func(m *dto.Metric) bool { return m.GetCounter().GetValue() > 0 }) {
				return notYetError{role + " without dead letters"}
			}
		}
		return nil
	})

	t.Run("what is exported is documented", func(t *testing.T) { documented(t, targets) })
	t.Run("what is counted is timed until it is visible", func(t *testing.T) {
		h := scrape(t, counting)["agentmeter_rollup_event_visible_duration_seconds"].GetMetric()[0].GetHistogram()
		if h.GetSampleCount() == 0 || h.GetSampleSum() <= 0 || h.GetSampleSum()/float64(h.GetSampleCount()) > 30 {
			t.Errorf("%d batches were timed, %v s in all", h.GetSampleCount(), h.GetSampleSum())
		}
	})
	t.Run("names follow the conventions", func(t *testing.T) { conventional(t, targets) })
	t.Run("durations are classic and native histograms", func(t *testing.T) { nativeToo(t, targets) })
	t.Run("a Prometheus evaluates it", func(t *testing.T) {
		evaluated(t, rollup, targets, func() {
			send(t, ingest, write, sentAt)
			readDashboard(t, query, write, "ws_seen", "range=today")
		})
	})
}

// beUsed sends events of all kinds and asks all kinds of questions.
func beUsed(t *testing.T, counting *process, ingest, query, token string) {
	t.Helper()
	send(t, ingest, token, sentAt)
	send(t, ingest, token, sentAt)                  // duplicates
	send(t, ingest, token, sentAt.Add(time.Second)) // other contents: dead letters
	for _, base := range []string{ingest, query} {
		if err := expectStatus(t, http.MethodPost, base+"/v1/sessions", "", strings.NewReader("{}"), http.StatusUnauthorized); err != nil {
			t.Error(err)
		}
	}
	counting.waitFor("to count the events", countPatience, func() error {
		if d := readDashboard(t, query, token, "ws_seen", "range=7d"); d.Summary.Credits != "1" || d.Completeness != "complete" {
			return notYetError{d.Summary.Credits + " " + d.Completeness}
		}
		return nil
	})
	for _, question := range []string{
		"/v1/usage/dashboard?workspace=ws_seen&range=30d&compare=prev", "/v1/usage/breakdown?workspace=ws_seen&by=channel&range=today",
		"/v1/usage/agents?workspace=ws_seen&range=today", "/v1/usage/export.csv?workspace=ws_seen&range=today", "/v1/usage/reconcile?workspace=ws_seen&range=today",
	} {
		if err := expectStatus(t, http.MethodGet, query+question, token, nil, http.StatusOK); err != nil {
			t.Error(err)
		}
	}
}

// sentAt is when the events of these tests occurred.
var sentAt = time.Now().UTC().Truncate(time.Second)

// send sends an event that is counted, one that is not and one that is refused.
func send(t *testing.T, ingest, token string, at time.Time) {
	t.Helper()
	event := func(id, channel, credits string) string {
		return `{"id":"` + id + `","workspace_id":"ws_seen","agent_id":"agt","occurred_at":"` + at.Format(time.RFC3339) + `","channel":"` + channel + `","credits":"` + credits + `"}`
	}
	batch := "[" + event("e1", "embed", "1") + "," + event("e2", "playground", "1") + "," + event("e3", "embed", "-1") + "]"
	if err := expectStatus(t, http.MethodPost, ingest+"/v1/events", token, strings.NewReader(batch), http.StatusAccepted); err != nil {
		t.Fatal(err)
	}
}

// scrape reads what a process exports.
func scrape(t *testing.T, base string) map[string]*dto.MetricFamily {
	t.Helper()
	status, content := call(t, http.MethodGet, base+"/metrics", "", nil)
	if status != http.StatusOK {
		t.Fatalf("%s/metrics: status %d: %s", base, status, content)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func documented(t *testing.T, targets map[string]string) {
	roles := make(map[string]map[string]*dto.MetricFamily)
	for role, base := range targets {
		roles[role] = scrape(t, base)
	}
	metrics := monitoring.Gathered(roles)
	for i := range metrics {
		m := &metrics[i]
		if !slices.Contains(m.Roles, "run") {
			t.Errorf("agentmeter run does not export %s, which %v do", m.Name, m.Roles)
		}
		if len(m.Roles) > 1 { // what a role exports, run does
			m.Roles = slices.DeleteFunc(m.Roles, func(role string) bool { return role == "run" })
		}
	}
	for _, m := range rare {
		metrics = slices.DeleteFunc(metrics, func(other monitoring.Metric) bool { return other.Name == m.Name })
		m.Roles = []string{"ingest", "rollup"}
		metrics = append(metrics, m)
	}
	slices.SortFunc(metrics, func(a, b monitoring.Metric) int { return strings.Compare(a.Name, b.Name) })

	rules, err := monitoring.ReadRules("../../deploy/prometheus/alerts")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(monitoringDocument)
	if err != nil {
		t.Fatal(err)
	}
	want, err := monitoring.WithTable(string(content), monitoring.Table(metrics, monitoring.UsesOf(rules, monitoring.Boards())))
	if err != nil {
		t.Fatal(err)
	}
	if want == string(content) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what is exported; see what changes: go test ./internal/e2e -run TestWhatIsExported -update", monitoringDocument)
	}
	if err := os.WriteFile(monitoringDocument, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

func conventional(t *testing.T, targets map[string]string) {
	for role, base := range targets {
		var families []*dto.MetricFamily
		for name, family := range scrape(t, base) {
			// franz-go calls two of its gauges totals.
			if strings.HasPrefix(name, "agentmeter_") && !strings.HasPrefix(name, "agentmeter_kafka_buffered_") {
				families = append(families, family)
			}
		}
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", role, p.Metric, p.Text)
		}
	}
}

func nativeToo(t *testing.T, targets map[string]string) {
	for role, base := range targets {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header))
		histograms := 0
		for {
			var family dto.MetricFamily
			if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			// What run passes on of its engine's process has been text.
			fromEngine := role == "run" && strings.HasPrefix(family.GetName(), "agentmeter_engine_")
			if !strings.HasPrefix(family.GetName(), "agentmeter_") || family.GetType() != dto.MetricType_HISTOGRAM || fromEngine {
				continue
			}
			histograms++
			for _, m := range family.GetMetric() {
				if h := m.GetHistogram(); h.Schema == nil || len(h.GetBucket()) == 0 {
					t.Errorf("%s: %s is native: %t, with %d classic buckets", role, family.GetName(), h.Schema != nil, len(h.GetBucket()))
				}
			}
		}
		if histograms == 0 {
			t.Errorf("%s exports no histogram", role)
		}
	}
}

// prometheusConfig is deploy/prometheus/prometheus.yml with these targets, a
// faster pace and no Alertmanager.
func prometheusConfig(t *testing.T, dir string, targets map[string]string) string {
	t.Helper()
	const deployed = "../../deploy/prometheus"
	content, err := os.ReadFile(filepath.Join(deployed, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	config["global"] = map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
	delete(config, "alerting")
	var rules []string
	for _, name := range config["rule_files"].([]any) {
		rule, err := os.ReadFile(filepath.Join(deployed, name.(string)))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(dir, filepath.Base(name.(string)))
		if err := os.WriteFile(copied, []byte(strings.ReplaceAll(string(rule), "    interval: 5m\n", "    interval: 1s\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, copied)
	}
	config["rule_files"] = rules
	target := func(role string) []any {
		return []any{map[string]any{"targets": []string{strings.TrimPrefix(targets[role], "http://")}}}
	}
	var jobs []any
	for _, job := range config["scrape_configs"].([]any) {
		job := job.(map[string]any)
		role, ours := strings.CutPrefix(job["job_name"].(string), "agentmeter-")
		if !ours {
			continue
		}
		delete(job, "dns_sd_configs")
		delete(job, "authorization")
		job["static_configs"] = target(role)
		jobs = append(jobs, job)
	}
	if len(jobs) != 3 {
		t.Fatalf("prometheus.yml has %d jobs of ours, want one for each role", len(jobs))
	}
	config["scrape_configs"] = append(jobs, map[string]any{"job_name": "agentmeter", "static_configs": target("run")})
	content, err = yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// evaluated has a real Prometheus look at the targets, which use uses meanwhile.
func evaluated(t *testing.T, stack *process, targets map[string]string, use func()) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("AGENTMETER_REQUIRE_PROMETHEUS") != "" {
			t.Fatal("prometheus is not installed (apt-get install prometheus)")
		}
		t.Skip("SKIPPED: prometheus is not installed (apt-get install prometheus), so rules and panels were not evaluated")
	}
	dir := t.TempDir()
	address := freeAddress()
	p := startCommand(t, exec.Command(program, "--config.file="+prometheusConfig(t, dir, targets),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn"))
	base := "http://" + address

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
	}
	p.waitFor("to scrape every target", startPatience, func() error {
		if got := instant(t, base, `sum(up{job=~"agentmeter.*"})`); len(got) != 1 || got[0] != "4" {
			return notYetError{fmt.Sprint(got)}
		}
		return nil
	})
	p.waitFor("to evaluate every rule", countPatience, func() error {
		rules.Data.Groups = nil
		get(t, base+"/api/v1/rules", "", &rules)
		for _, group := range rules.Data.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "unknown" {
					return notYetError{rule.Name}
				}
			}
		}
		return nil
	})
	for _, group := range rules.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("rule %s: %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			if rule.State == "firing" {
				t.Errorf("%s fires, and nothing is wrong", rule.Name)
			}
		}
	}

	// What shows only once something goes wrong, or after a while.
	quiet := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			return slices.ContainsFunc(rare, func(m monitoring.Metric) bool { return m.Name == name })
		})
	}
	err = stack.await("to be on every panel", countPatience, func() error {
		use()
		var empty []string
		for _, board := range monitoring.Boards() {
			for _, row := range board.Rows {
				for _, panel := range row.Panels {
					for _, q := range panel.Queries {
						if answer := instant(t, base, q.Plain()); len(answer) == 0 && !quiet(monitoring.Names(q.Expr)) {
							empty = append(empty, fmt.Sprintf("%s, %s, %s: %s", board.UID, row.Title, panel.Title, q.Expr))
						}
					}
				}
			}
		}
		if len(empty) > 0 {
			return notYetError{strings.Join(empty, "\n")}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// instant asks a Prometheus and returns the values; it fails where that does
// not understand.
func instant(t *testing.T, base, expr string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil // it is starting
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return nil
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Status != "success" {
		t.Fatalf("%s: %s", expr, answer.Error)
	}
	var values []string
	for _, result := range answer.Data.Result {
		values = append(values, fmt.Sprint(result.Value[1]))
	}
	return values
}

// A command that a runbook names at three in the morning is there.
func TestRunbooksNameCommandsThatExist(t *testing.T) {
	files, err := filepath.Glob("../../deploy/runbooks/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no runbooks", err)
	}
	files = append(files, monitoringDocument, "../../docs/operations/slo.md")
	help := make(map[string]string)
	flags := func(command string) string {
		if _, ok := help[command]; !ok {
			code, stdout, stderr := agentmeter(t, append(strings.Fields(command), "--help")...)
			if code != 0 {
				t.Errorf("agentmeter %s: exit status %d: %s", command, code, stderr)
			}
			help[command] = stdout
		}
		return help[command]
	}
	commands := regexp.MustCompile(`\bagentmeter ((?:[a-z]+-?)+(?: (?:list|show|replay))?)((?: (?:--[a-z-]+|[^\s` + "`" + `|]+))*)`)
	flag := regexp.MustCompile(`(?m)(?:^|[ (` + "`" + `])(--[a-z][a-z-]+)`)
	every := ""
	for _, command := range []string{"run", "ingest", "rollup", "query", "migrate", "audit", "rebuild", "erase", "token", "deadletter list"} {
		every += flags(command)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "kafka-") || strings.Contains(line, "docker") || strings.Contains(line, "kubectl") || strings.Contains(line, "--storage.tsdb") || strings.HasPrefix(line, "<!--") {
				continue // not ours
			}
			for _, found := range commands.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(found[2], " --") {
					continue // prose
				}
				for _, f := range flag.FindAllStringSubmatch(found[2], -1) {
					if !strings.Contains(flags(found[1]), f[1]) {
						t.Errorf("%s: agentmeter %s has no %s", filepath.Base(file), found[1], f[1])
					}
				}
			}
			for _, f := range flag.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(every, f[1]) {
					t.Errorf("%s: nothing has a flag %s", filepath.Base(file), f[1])
				}
			}
		}
	}
}
