package page

import (
	"html"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"agentmeter/schemas/api"
)

func TestDecimalsAreGroupedAndStayExact(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "7": "7", "999": "999", "1000": "1,000", "-1234567.5": "−1,234,567.5", "9007199254740993.000001": "9,007,199,254,740,993.000001", "0.000001": "0.000001",
	} {
		if got := group(in); got != want {
			t.Errorf("group(%s) = %s, want %s", in, got, want)
		}
	}
	if got := group((*string)(nil)); got != "—" {
		t.Errorf("what is not known is shown as %q", got)
	}
}

func TestBarsAreNamedByTheClockOfTheirZone(t *testing.T) {
	hour := func(text string) api.Bar {
		start, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return api.Bar{Start: start, End: start.Add(time.Hour)}
	}
	zone, err := time.LoadLocation("Europe/Copenhagen")
	if err != nil {
		t.Fatal(err)
	}
	p := NoScript{Zone: zone}
	// The night in which the clock is put back has two hours that begin at two.
	for text, want := range map[string]string{
		"2026-10-25T00:00:00Z": "Sun 25 Oct 2026, 02:00–02:00 CET",
		"2026-10-25T01:00:00Z": "Sun 25 Oct 2026, 02:00–03:00 CET",
	} {
		if got := p.Bar(hour(text), api.GrainHour); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
	if got := p.Bar(hour("2026-11-11T23:00:00Z"), api.GrainDay); got != "Thu 12 Nov 2026" {
		t.Errorf("the day is %q", got)
	}
	month := api.Bar{Start: time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)}
	if got := p.Bar(month, api.GrainMonth); got != "1 Nov – 30 Nov 2026" {
		t.Errorf("the month is %q", got)
	}
}

func TestLinksKeepWhatWasAsked(t *testing.T) {
	f := Figures{NoScript: NoScript{Workspace: api.Workspace{ID: "ws a"}, Asked: map[string][]string{"from": {"2026-11-01"}, "to": {"2026-11-24"}, "grain": {"day"}}}}
	for got, want := range map[string]string{
		f.ForAgent("a&b"): "figures?agent=a%26b&from=2026-11-01&grain=day&to=2026-11-24",
		f.ForAgent(""):    "figures?from=2026-11-01&grain=day&to=2026-11-24",
		f.ProofLink():     "proof?from=2026-11-01&to=2026-11-24",
		f.Widened():       "figures?range=90d",
		f.ExportLink():    "/v1/usage/export.csv?from=2026-11-01&grain=day&to=2026-11-24&workspace=ws+a",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, choice := range f.Ranges() {
		if choice.Chosen {
			t.Errorf("%s is chosen, and dates were asked for", choice.Label)
		}
	}
}

func TestThePageWithoutScriptsHasTheSameLooks(t *testing.T) {
	p, err := New(dressed)
	if err != nil {
		t.Fatal(err)
	}
	through := time.Date(2026, 11, 24, 14, 32, 5, 0, time.UTC)
	billing := "https://example.com/billing"
	workspace := api.Workspace{ID: "ws", Name: "Acme", ProductName: "Acme Agents", SupportEmail: "help@example.com", Links: api.WorkspaceLinks{Billing: &billing}}
	answer := httptest.NewRecorder()
	p.WriteProof(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/w/ws/usage/proof", nil), Proof{
		NoScript: NoScript{Workspace: workspace, Zone: time.UTC},
		Data:     &api.Reconciliation{Freshness: api.Freshness{CountedThrough: &through}},
	})
	page := answer.Body.String()
	for _, want := range []string{
		"24 Nov 2026, 2:32:05 pm UTC", `href="/assets/accent-`, "<title>Proof of usage · Acme · Acme Agents</title>", "<bdi>Acme Agents</bdi> · <bdi>Acme</bdi>", "mailto:help@example.com",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in %s", want, page)
		}
	}
	if f := (Figures{NoScript: NoScript{Workspace: workspace}}); f.Billing() != billing {
		t.Errorf("billing %q", f.Billing())
	}
	if bare := (NoScript{Workspace: api.Workspace{Name: "Acme"}}); bare.Support() != SupportEmail {
		t.Errorf("support %q", bare.Support())
	}
}

func TestCreditsPerMessageAreThoseOfThePageWithScripts(t *testing.T) {
	for _, tt := range []struct{ credits, messages, want string }{
		{"12421", "7701", "1.61"}, {"12000", "1", "12,000.00"}, {"1", "8", "0.13"}, {"-1", "8", "−0.13"}, {"9007199254740993.5", "1", "9,007,199,254,740,993.50"}, {"5", "0", ""},
	} {
		if got := perMessage(tt.credits, tt.messages); got != tt.want {
			t.Errorf("%s for %s: %q, want %q", tt.credits, tt.messages, got, tt.want)
		}
	}
}

func TestNamesOnThePageWithoutScriptsTurnNothingRound(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Each name holds what the sentence itself says, and letters that run the other way.
	driver, rise := "בוט. Biggest rise: X, +1", "מכירות (new)."
	sentence := driver + " drove 62% of credits in this range (7 of 11). Biggest rise: " + rise + ", +3 (new)."
	f := Figures{
		NoScript: NoScript{Workspace: api.Workspace{ID: "ws", Name: "חברה", ProductName: "סוכנים"}, Zone: time.UTC, Agent: driver, Asked: url.Values{"agent": {"a"}}},
		Data: &api.Dashboard{
			Agents:   []api.AgentUsage{{ID: "a", Name: driver, Credits: "7", Messages: "2", Share: "62"}},
			Insights: api.Insights{Driver: &api.InsightDriver{Name: driver}, Rise: &api.InsightRise{Name: rise}, Sentence: sentence},
			Summary:  api.Summary{Credits: "7", Messages: "2"},
		},
	}
	answer := httptest.NewRecorder()
	p.WriteFigures(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/w/ws/usage/figures", nil), f)
	page := html.UnescapeString(answer.Body.String())
	for _, want := range []string{
		"<bdi>סוכנים</bdi> · <bdi>חברה</bdi>",
		"<title>Usage · \u2068חברה\u2069 · \u2068סוכנים\u2069</title>",
		`selected dir="auto">` + driver + "</option>",
		"<bdi>" + driver + "</bdi> drove 62% of credits in this range (7 of 11). Biggest rise: <bdi>" + rise + "</bdi>, +3 (new).",
		"<bdi>" + driver + "</bdi></a>",
		`Team members used <span class="tag">Whole workspace</span>`,
		`<span class="num">3.50</span> credits per message`,
		`<td class="number">3.50</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing in %s", want, page)
		}
	}
	proof := httptest.NewRecorder()
	p.WriteProof(proof, httptest.NewRequestWithContext(t.Context(), "GET", "/w/ws/usage/proof", nil), Proof{NoScript: f.NoScript, Data: &api.Reconciliation{}})
	if page := html.UnescapeString(proof.Body.String()); !strings.Contains(page, "<bdi>"+driver+"</bdi>,") {
		t.Errorf("the agent is not isolated in %s", page)
	}

	f.Data.Insights.Rise, f.Data.Insights.Sentence = nil, driver+" drove all."
	if got := f.Sentence(); !slices.Equal(got, []Part{{driver, true}, {" drove all.", false}}) {
		t.Errorf("parts %v", got)
	}
	if f.Data.Insights.Driver = nil; f.Sentence() != nil {
		t.Errorf("parts %v of nothing", f.Sentence())
	}
}

func TestThePageWithoutScriptsSaysHowFarTheDataIsBehind(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	through := time.Date(2026, 11, 24, 14, 32, 5, 0, time.UTC)
	write := func(lag float64, last api.BarState, through *time.Time) string {
		answer := httptest.NewRecorder()
		p.WriteFigures(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/w/ws/usage/figures", nil), Figures{
			NoScript: NoScript{Zone: time.UTC},
			Data: &api.Dashboard{
				Freshness: api.Freshness{CountedThrough: through, LagSeconds: &lag},
				Series:    []api.Bar{{State: api.BarFinal}, {State: last}},
			},
		})
		return answer.Body.String()
	}
	for lag, want := range map[float64]string{121: "2 minutes", 3599: "59 minutes", 3600: "1 hour", 172_799: "47 hours", 172_800: "2 days"} {
		page := write(lag, api.BarInProgress, &through)
		if !strings.Contains(page, `<p class="chip late"><i aria-hidden="true"></i>Data is `+want+" behind</p>") || !strings.Contains(page, "Data is "+want+" behind.</strong> New usage will appear when processing catches up.") {
			t.Errorf("%v s: %s", lag, page)
		}
	}
	for _, page := range []string{write(120, api.BarFuture, &through), write(3600, api.BarSettling, &through)} {
		if strings.Contains(page, "behind") || !strings.Contains(page, "Up to date to 24 Nov 2026, 14:32:05 UTC") {
			t.Errorf("it matters to nothing that is shown, or is in order: %s", page)
		}
	}
	if page := write(0, api.BarFuture, nil); !strings.Contains(page, "Not known how far the data reaches") {
		t.Errorf("it is not known: %s", page)
	}
}
