package page

import (
	"net/http/httptest"
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
	p := Plain{Zone: zone}
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
	f := Figures{Plain: Plain{Workspace: api.Workspace{ID: "ws a"}, Asked: map[string][]string{"from": {"2026-11-01"}, "to": {"2026-11-24"}, "grain": {"day"}}}}
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
		Plain: Plain{Workspace: workspace, Zone: time.UTC},
		Data:  &api.Reconciliation{Freshness: api.Freshness{CountedThrough: &through}},
	})
	page := answer.Body.String()
	for _, want := range []string{
		"24 Nov 2026, 2:32:05 pm UTC", `href="/assets/accent-`, "<title>Proof of usage · Acme · Acme Agents</title>", "Acme Agents · Acme", "mailto:help@example.com",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in %s", want, page)
		}
	}
	if f := (Figures{Plain: Plain{Workspace: workspace}}); f.Billing() != billing {
		t.Errorf("billing %q", f.Billing())
	}
	if bare := (Plain{Workspace: api.Workspace{Name: "Acme"}}); bare.Names() != "Acme" || bare.Support() != SupportEmail {
		t.Errorf("names %q, support %q", bare.Names(), bare.Support())
	}
}
