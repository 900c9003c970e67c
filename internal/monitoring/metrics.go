package monitoring

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Metric is one metric that a process exports.
type Metric struct {
	Name, Type string
	Labels     []string
	Roles      []string // the processes that export it
	Help       string
}

// Gathered turns what processes said at /metrics, by role, into the metrics that
// are ours, by name.
func Gathered(roles map[string]map[string]*dto.MetricFamily) []Metric {
	byName := make(map[string]*Metric)
	for role, families := range roles {
		for name, family := range families {
			if !strings.HasPrefix(name, "agentmeter_") {
				continue
			}
			m := byName[name]
			if m == nil {
				m = &Metric{Name: name, Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp()}
				byName[name] = m
			}
			m.Roles = append(m.Roles, role)
			for _, series := range family.GetMetric() {
				for _, label := range series.GetLabel() {
					if !slices.Contains(m.Labels, label.GetName()) {
						m.Labels = append(m.Labels, label.GetName())
					}
				}
			}
		}
	}
	metrics := make([]Metric, 0, len(byName))
	for _, m := range byName {
		slices.Sort(m.Labels)
		slices.Sort(m.Roles)
		metrics = append(metrics, *m)
	}
	slices.SortFunc(metrics, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	return metrics
}

// Rule is a rule of Prometheus's: an alert, or a recording of another
// expression.
type Rule struct {
	Alert, Record, Expr, For string
	Labels, Annotations      map[string]string
}

var metricName = regexp.MustCompile(`\bagentmeter[_:][a-zA-Z0-9_:]+`)

// Names are the metrics that an expression of PromQL names, those of a histogram
// by the histogram's name. Recorded ones have a colon.
func Names(expr string) []string {
	// What stands in quotes are values of labels.
	expr = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, `""`)
	var names []string
	for _, name := range metricName.FindAllString(expr, -1) {
		if !strings.Contains(name, ":") {
			for _, suffix := range [...]string{"_bucket", "_count", "_sum"} {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Uses says which alerts and boards rest on a metric, through recorded ones too.
type Uses struct {
	Alerts, Boards map[string][]string // by metric
}

// UsesOf finds them.
func UsesOf(rules []Rule, boards []Board) Uses {
	recorded := make(map[string][]string) // what each recorded metric is made of
	for _, r := range rules {
		if r.Record != "" {
			recorded[r.Record] = append(recorded[r.Record], Names(r.Expr)...)
		}
	}
	uses := Uses{Alerts: make(map[string][]string), Boards: make(map[string][]string)}
	var note func(into map[string][]string, expr []string, user string)
	note = func(into map[string][]string, names []string, user string) {
		for _, name := range names {
			if slices.Contains(into[name], user) {
				continue
			}
			into[name] = append(into[name], user)
			note(into, recorded[name], user)
		}
	}
	for _, r := range rules {
		if r.Alert != "" {
			note(uses.Alerts, Names(r.Expr), r.Alert)
		}
	}
	for _, b := range boards {
		for _, row := range b.Rows {
			for _, p := range row.Panels {
				for _, q := range p.Queries {
					note(uses.Boards, Names(q.Expr), strings.TrimPrefix(b.UID, "agentmeter-"))
				}
			}
		}
	}
	return uses
}

// Table is the Markdown table of metrics, with who uses each.
func Table(metrics []Metric, uses Uses) string {
	var out strings.Builder
	out.WriteString("| metric | type | labels | exported by | meaning | boards | alerts |\n|---|---|---|---|---|---|---|\n")
	for _, m := range metrics {
		var alerts []string
		for _, alert := range uses.Alerts[m.Name] {
			alerts = append(alerts, fmt.Sprintf("[%s](../../deploy/runbooks/%s.md)", strings.TrimPrefix(alert, "Agentmeter"), alert))
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s | %s | %s |\n", m.Name, m.Type, strings.Join(m.Labels, ", "),
			strings.Join(m.Roles, ", "), strings.ReplaceAll(m.Help, "|", `\|`), strings.Join(uses.Boards[m.Name], ", "), strings.Join(alerts, ", "))
	}
	return out.String()
}

// Around the table in docs/operations/monitoring.md.
const (
	tableBegins = "<!-- metrics: written by go test ./internal/e2e -run TestWhatIsExported -update -->\n"
	tableEnds   = "<!-- metrics end -->\n"
)

// TableIn is the table in a document.
func TableIn(document string) (string, error) {
	_, rest, begins := strings.Cut(document, tableBegins)
	table, _, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", fmt.Errorf("the document has no place for the table: %q … %q", tableBegins, tableEnds)
	}
	return table, nil
}

// WithTable is the document with another table.
func WithTable(document, table string) (string, error) {
	old, err := TableIn(document)
	if err != nil {
		return "", err
	}
	return strings.Replace(document, tableBegins+old+tableEnds, tableBegins+table+tableEnds, 1), nil
}

// ParseTable reads a table back.
func ParseTable(table string) []Metric {
	var metrics []Metric
	for line := range strings.Lines(table) {
		cells := regexp.MustCompile(`(?:^|[^\\])\|`).Split(strings.TrimSpace(line), -1)
		if len(cells) < 8 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`agentmeter_") {
			continue
		}
		list := func(cell string) []string {
			if cell = strings.TrimSpace(cell); cell == "" {
				return nil
			}
			return strings.Split(cell, ", ")
		}
		metrics = append(metrics, Metric{
			Name: strings.Trim(strings.TrimSpace(cells[1]), "`"), Type: strings.TrimSpace(cells[2]),
			Labels: list(cells[3]), Roles: list(cells[4]), Help: strings.ReplaceAll(strings.TrimSpace(cells[5]), `\|`, "|"),
		})
	}
	return metrics
}
