package page

import (
	"bytes"
	"cmp"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"agentmeter/schemas/api"
)

// Patterns of the pages that need no script: the figures as tables, and the
// proof that they equal what was recorded.
const (
	FiguresRoute = Route + "/figures"
	ProofRoute   = Route + "/proof"
)

//go:embed noscript/*.gohtml
var noScriptFiles embed.FS

var noScriptTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"group": group, "share": percent, "rate": perMessage, "state": stateNote, "head": newHead,
	"summary": func(tier api.TierReconciliationTier) string { return cmp.Or(summaryNames[tier], string(tier)) },
	"ref":     func(at time.Time) *time.Time { return &at },
}).ParseFS(noScriptFiles, "noscript/*.gohtml"))

// head is what stands in a page's head.
type head struct {
	Title       string
	Stylesheets []string
}

func newHead(title string, of NoScript, stylesheets []string) head {
	names := []string{title, isolated(of.Workspace.Name)}
	if product := of.Workspace.ProductName; product != "" {
		names = append(names, isolated(product))
	}
	return head{strings.Join(names, " · "), stylesheets}
}

// NoScript is what the pages without scripts have in common.
type NoScript struct {
	Workspace api.Workspace
	// Asked is the question as a query, as far as it was understood.
	Asked url.Values
	// Agent is the name of the chosen agent; "" is All Agents.
	Agent string
	// Zone is the one that times are told in.
	Zone *time.Location
	// Problem says why there is no data; nil: there is.
	Problem *Problem

	twelveHours bool
}

// Figures is what the page of figures shows.
type Figures struct {
	NoScript
	Data *api.Dashboard // nil where there is a problem
}

// Proof is what the page of the proof shows.
type Proof struct {
	NoScript
	Data *api.Reconciliation // nil where there is a problem
}

// Problem is why a page without scripts has no figures.
type Problem struct {
	Status int
	// Reasons says what is wrong with the question, if it is the question's fault.
	Reasons []string
	Trace   string // to quote to support
}

// Title is the headline of the state that the page is in.
func (p *Problem) Title() string {
	switch p.Status {
	case http.StatusUnauthorized:
		return "Your session has ended."
	case http.StatusForbidden:
		return "You don’t have access to this workspace’s usage."
	case http.StatusNotFound:
		return "This workspace or agent isn’t available to you."
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "Too many requests at the moment. Try again in a few seconds."
	default:
		return "Usage couldn’t load for this range"
	}
}

// Passing tells a problem that may be gone at the next try.
func (p *Problem) Passing() bool { return p.Status >= 500 }

// SupportEmail is whom to write to when nobody else is configured.
const SupportEmail = "support@a2v2.ai"

// WriteFigures writes the figures as tables.
func (p *Page) WriteFigures(w http.ResponseWriter, r *http.Request, f Figures) {
	f.twelveHours = p.twelveHours
	p.writeNoScript(w, r, "figures.gohtml", f, f.Problem)
}

// WriteProof writes the proof.
func (p *Page) WriteProof(w http.ResponseWriter, r *http.Request, f Proof) {
	f.twelveHours = p.twelveHours
	p.writeNoScript(w, r, "proof.gohtml", f, f.Problem)
}

func (p *Page) writeNoScript(w http.ResponseWriter, r *http.Request, name string, data any, problem *Problem) {
	var body bytes.Buffer
	err := noScriptTemplates.ExecuteTemplate(&body, name, struct {
		Page        any
		Stylesheets []string
	}{data, p.stylesheets})
	status := http.StatusOK
	if problem != nil {
		status = problem.Status
	}
	if err != nil { // a fault of a template's, which its tests would have met
		http.Error(w, "the page could not be written", http.StatusInternalServerError)
		return
	}
	p.setHeaders(w)
	h := w.Header()
	// There are no scripts here, and a form that asks for another range.
	h.Set("Content-Security-Policy", strings.NewReplacer("script-src 'self'", "script-src 'none'", "form-action 'none'", "form-action 'self'").
		Replace(h.Get("Content-Security-Policy")))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = body.WriteTo(w) // a reader that went away is no concern of ours
	}
}

// link is the address of a page beside this one that asks the same, with some
// parameters changed; an empty value takes one out.
func link(to string, asked url.Values, change ...string) string {
	values := url.Values{}
	for name := range asked {
		values.Set(name, asked.Get(name))
	}
	for i := 0; i+1 < len(change); i += 2 {
		if values.Del(change[i]); change[i+1] != "" {
			values.Set(change[i], change[i+1])
		}
	}
	if len(values) == 0 {
		return to
	}
	return to + "?" + values.Encode()
}

// ForAgent is the address of this page for one agent, or for All Agents.
func (f Figures) ForAgent(id string) string { return link("figures", f.Asked, "agent", id) }

// ProofLink leads to the proof of these figures.
func (f Figures) ProofLink() string { return link("proof", f.Asked, "grain", "", "compare", "") }

// Widened is the address of this page for the last 90 days.
func (f Figures) Widened() string {
	return link("figures", f.Asked, "range", "90d", "from", "", "to", "", "start", "", "end", "", "grain", "")
}

// ExportLink downloads these figures.
func (f Figures) ExportLink() string {
	return link("/v1/usage/export.csv", f.Asked, "workspace", f.Workspace.ID)
}

// Usage leads from the proof to the page.
func (f Proof) Usage() string { return link("../usage", f.Asked) }

// Back leads from the proof to its figures.
func (f Proof) Back() string { return link("figures", f.Asked) }

// summaryNames are what tiers are called in front of people.
var summaryNames = map[api.TierReconciliationTier]string{
	api.Minute: "By minute", api.Quarter: "By quarter hour", api.Hour: "By hour", api.Day: "By day",
	api.WorkspaceHour: "By hour, all agents", api.Playground: "Playground, by quarter hour",
}

// Choice is one choice of a form's list.
type Choice struct {
	Value, Label string
	Chosen       bool
}

var rangeLabels = []Choice{
	{Value: "today", Label: "Today"},
	{Value: "yesterday", Label: "Yesterday"},
	{Value: "7d", Label: "Last 7 days"},
	{Value: "30d", Label: "Last 30 days"},
	{Value: "90d", Label: "Last 90 days"},
	{Value: "period", Label: "This billing period"},
	{Value: "previous_period", Label: "Previous billing period"},
	{Value: "mtd", Label: "Month to date"},
	{Value: "last_month", Label: "Last month"},
}

// Ranges are the presets to choose from.
func (f Figures) Ranges() []Choice {
	chosen := f.Asked.Get("range")
	if chosen == "" && f.Asked.Get("from") == "" && f.Asked.Get("start") == "" {
		chosen = "period"
	}
	choices := make([]Choice, len(rangeLabels))
	for i, c := range rangeLabels {
		c.Chosen = c.Value == chosen
		choices[i] = c
	}
	return choices
}

// Agents are the agents to choose from: those with usage, and the chosen one.
func (f Figures) Agents() []Choice {
	chosen := f.Asked.Get("agent")
	choices := []Choice{{Value: "", Label: "All Agents", Chosen: f.Agent == ""}}
	listed := f.Agent == ""
	if f.Data != nil {
		for _, a := range f.Data.Agents {
			choices = append(choices, Choice{Value: a.ID, Label: agentLabel(a.Name, a.ID, a.Deleted), Chosen: a.ID == chosen})
			listed = listed || a.ID == chosen
		}
	}
	if !listed {
		choices = append(choices, Choice{Value: chosen, Label: f.Agent, Chosen: true})
	}
	return choices
}

func agentLabel(name, id string, deleted bool) string {
	if name == "" {
		name = id
	}
	if deleted {
		name += " (deleted)"
	}
	return name
}

// Empty says that there is no usage, and that this is known.
func (f Figures) Empty() bool {
	for _, bar := range f.Data.Series {
		if bar.State == api.BarMissing {
			return false
		}
	}
	return len(f.Data.Agents) == 0 && f.Data.Summary.Credits == "0" && f.Data.Summary.Messages == "0"
}

// Partial says that the figures are not all there is.
func (f Figures) Partial() bool { return f.Data.Completeness == api.Partial }

// Reach is until when everything is counted, "" where that is not known.
func (f Figures) Reach() string {
	through, lag := f.Data.Freshness.CountedThrough, f.Data.Freshness.LagSeconds
	if through == nil || lag == nil {
		return ""
	}
	return f.At(through)
}

// behindAfter is how late the figures may be before the page says so.
const behindAfter = 2 * time.Minute

// Behind is how late the figures are, "" where that is in order, or where the
// range ends before what is counted, and it does not matter.
func (f Figures) Behind() string {
	if f.Data.Freshness.LagSeconds == nil || len(f.Data.Series) == 0 {
		return ""
	}
	lag := time.Duration(*f.Data.Freshness.LagSeconds * float64(time.Second))
	last := f.Data.Series[len(f.Data.Series)-1].State
	if lag <= behindAfter || last != api.BarInProgress && last != api.BarFuture {
		return ""
	}
	return duration(lag)
}

// Part is one of a text that has names in it.
type Part struct {
	Text string
	Name bool
}

// RiseFollows stands in the answer in words between who drove the spend, and by how
// much, and the name of whose rose most.
const RiseFollows = ". Biggest rise: "

// Sentence is the answer in words, with its names apart, so that one which runs
// from right to left does not turn the rest round.
func (f Figures) Sentence() []Part {
	insights := f.Data.Insights
	if insights.Driver == nil {
		return nil
	}
	rest := strings.TrimPrefix(insights.Sentence, insights.Driver.Name)
	parts := []Part{{insights.Driver.Name, true}, {rest, false}}
	if drove, rise, ok := strings.Cut(rest, RiseFollows); ok && insights.Rise != nil {
		parts = append(parts[:1], Part{drove + RiseFollows, false}, Part{insights.Rise.Name, true}, Part{strings.TrimPrefix(rise, insights.Rise.Name), false})
	}
	return parts
}

// Begun are the bars that have begun.
func (f Figures) Begun() []api.Bar {
	bars := f.Data.Series
	for len(bars) > 0 && bars[len(bars)-1].State == api.BarFuture {
		bars = bars[:len(bars)-1]
	}
	return bars
}

// Support is the address to write to.
func (p NoScript) Support() string {
	if p.Workspace.SupportEmail != "" {
		return p.Workspace.SupportEmail
	}
	return SupportEmail
}

// Billing is where the balance is, if that is an address that a browser opens.
func (f Figures) Billing() string {
	href := f.Workspace.Links.Billing
	if href == nil || !strings.HasPrefix(*href, "https://") && !strings.HasPrefix(*href, "http://") && !strings.HasPrefix(*href, "/") {
		return ""
	}
	return *href
}

// stateNote says what is not final about a bar.
func stateNote(state api.BarState) string {
	switch state {
	case api.BarInProgress:
		return "In progress: so far"
	case api.BarSettling:
		return "May still rise"
	case api.BarMissing:
		return "No data recorded"
	default:
		return ""
	}
}
