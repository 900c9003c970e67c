package monitoring

import (
	"bytes"
	"encoding/json"
)

// Grafana's grid has 24 columns.
const (
	gridColumns  = 24
	graphColumns = 12
	statColumns  = 6
	graphHeight  = 8
	statHeight   = 5
)

// The shapes of Grafana's JSON, as far as it is used.
type (
	grafanaBoard struct {
		UID           string         `json:"uid"`
		Title         string         `json:"title"`
		Description   string         `json:"description"`
		Tags          []string       `json:"tags"`
		Editable      bool           `json:"editable"`
		GraphTooltip  int            `json:"graphTooltip"` // 1: a shared crosshair
		Refresh       string         `json:"refresh"`
		SchemaVersion int            `json:"schemaVersion"`
		Timezone      string         `json:"timezone"`
		Time          grafanaTime    `json:"time"`
		Links         []grafanaLink  `json:"links"`
		Templating    grafanaList    `json:"templating"`
		Panels        []grafanaPanel `json:"panels"`
	}
	grafanaTime struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	grafanaLink struct {
		Title       string   `json:"title"`
		Type        string   `json:"type"`
		Tags        []string `json:"tags"`
		AsDropdown  bool     `json:"asDropdown"`
		IncludeVars bool     `json:"includeVars"`
		KeepTime    bool     `json:"keepTime"`
	}
	grafanaList struct {
		List []grafanaVariable `json:"list"`
	}
	grafanaVariable struct {
		Name  string `json:"name"`
		Label string `json:"label"`
		Type  string `json:"type"`
		Query string `json:"query"`
	}
	grafanaSource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	grafanaPanel struct {
		ID          int             `json:"id"`
		Type        string          `json:"type"`
		Title       string          `json:"title"`
		Description string          `json:"description,omitempty"`
		GridPos     grafanaPosition `json:"gridPos"`
		Datasource  *grafanaSource  `json:"datasource,omitempty"`
		FieldConfig *grafanaFields  `json:"fieldConfig,omitempty"`
		Targets     []grafanaTarget `json:"targets,omitempty"`
		Collapsed   *bool           `json:"collapsed,omitempty"`
		Panels      []grafanaPanel  `json:"panels,omitempty"`
	}
	grafanaPosition struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	grafanaFields struct {
		Defaults  grafanaDefaults `json:"defaults"`
		Overrides []struct{}      `json:"overrides"`
	}
	grafanaDefaults struct {
		Unit       string             `json:"unit"`
		Min        *float64           `json:"min,omitempty"`
		Thresholds *grafanaThresholds `json:"thresholds,omitempty"`
	}
	grafanaThresholds struct {
		Mode  string        `json:"mode"`
		Steps []grafanaStep `json:"steps"`
	}
	grafanaStep struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"` // null for the lowest
	}
	grafanaTarget struct {
		RefID        string        `json:"refId"`
		Datasource   grafanaSource `json:"datasource"`
		Expr         string        `json:"expr"`
		LegendFormat string        `json:"legendFormat"`
	}
)

var datasource = grafanaSource{Type: "prometheus", UID: "${datasource}"}

// JSON is the board as Grafana provisions it.
func (b Board) JSON() ([]byte, error) {
	out := grafanaBoard{
		UID: b.UID, Title: b.Title, Description: b.Description, Tags: []string{"agentmeter"},
		GraphTooltip: 1, Refresh: "30s", SchemaVersion: 39, Timezone: "browser",
		Time:       grafanaTime{"now-3h", "now"},
		Links:      []grafanaLink{{Title: "Agentmeter", Type: "dashboards", Tags: []string{"agentmeter"}, KeepTime: true, IncludeVars: true}},
		Templating: grafanaList{[]grafanaVariable{{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"}}},
	}
	x, y, height := 0, 0, 0
	place := func(w, h int) grafanaPosition {
		if x+w > gridColumns {
			x, y, height = 0, y+height, 0
		}
		at := grafanaPosition{H: h, W: w, X: x, Y: y}
		x, height = x+w, max(height, h)
		return at
	}
	add := func(p grafanaPanel) {
		p.ID = len(out.Panels) + 1
		out.Panels = append(out.Panels, p)
	}
	open := false
	for _, row := range b.Rows {
		x, y, height = 0, y+height, 0
		add(grafanaPanel{Type: "row", Title: row.Title, GridPos: place(gridColumns, 1), Collapsed: &open})
		for _, p := range row.Panels {
			add(p.grafana(place(p.size())))
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(out)
	return text.Bytes(), err
}

func (p Panel) size() (w, h int) {
	if p.Kind == Stat {
		return statColumns, statHeight
	}
	return graphColumns, graphHeight
}

func (p Panel) grafana(at grafanaPosition) grafanaPanel {
	out := grafanaPanel{
		Type: string(p.Kind), Title: p.Title, Description: p.About, GridPos: at, Datasource: &datasource,
		FieldConfig: &grafanaFields{Defaults: grafanaDefaults{Unit: p.Unit}, Overrides: []struct{}{}},
	}
	defaults := &out.FieldConfig.Defaults
	switch {
	case p.Kind == Graph:
		// A share or a rate is read from its distance to nothing.
		if p.Unit != "none" {
			defaults.Min = new(float64)
		}
	case p.Bad != 0:
		steps := []grafanaStep{{"green", nil}, {"red", &p.Bad}}
		if p.Below {
			steps = []grafanaStep{{"red", nil}, {"green", &p.Bad}}
		}
		defaults.Thresholds = &grafanaThresholds{Mode: "absolute", Steps: steps}
	}
	for i, q := range p.Queries {
		out.Targets = append(out.Targets, grafanaTarget{
			RefID: string(rune('A' + i)), Datasource: datasource, Expr: q.Expr, LegendFormat: q.Legend,
		})
	}
	return out
}
