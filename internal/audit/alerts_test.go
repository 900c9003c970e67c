package audit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A rule about a metric that nobody exports never fires, and a runbook that is
// not there helps nobody.
func TestAlertRulesNameWhatThereIs(t *testing.T) {
	root := filepath.Join("..", "..")
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	sources := ""
	for _, name := range []string{"internal/audit/metrics.go", "ingest/metrics.go", "ingest/acknowledged.go", "rollup/metrics.go", "query/metrics.go"} {
		sources += read(name)
	}
	// Rollup puts its names together.
	for _, kind := range []string{"gauge", "counter", "histogram"} {
		sources = strings.ReplaceAll(sources, kind+`("`, `"agentmeter_rollup_`)
	}
	for _, tt := range []struct {
		rules, runbook string
		metrics        int // that are named, at least
	}{
		{"deploy/prometheus/alerts/counting.yml", "docs/counting.md", 10},
		{"deploy/prometheus/alerts/answering.yml", "docs/answers.md", 2},
	} {
		var rules struct {
			Groups []struct {
				Rules []struct {
					Alert       string
					Expr        string
					Labels      map[string]string
					Annotations map[string]string
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(tt.rules)), &rules); err != nil {
			t.Fatal(err)
		}
		anchors := map[string]bool{}
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(read(tt.runbook), -1) {
			anchors[strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
		}
		checked := 0
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				for _, metric := range regexp.MustCompile(`agentmeter_\w+`).FindAllString(rule.Expr, -1) {
					checked++
					if !strings.Contains(sources, `"`+metric+`"`) {
						t.Errorf("%s: nobody exports %s", rule.Alert, metric)
					}
				}
				anchor, ok := strings.CutPrefix(rule.Annotations["runbook_url"], tt.runbook+"#")
				if !ok || !anchors[anchor] {
					t.Errorf("%s: no runbook at %s", rule.Alert, rule.Annotations["runbook_url"])
				}
				if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
					t.Errorf("%s: without severity or summary", rule.Alert)
				}
			}
		}
		if checked < tt.metrics {
			t.Errorf("%s: only %d metrics are named", tt.rules, checked)
		}
	}
}
