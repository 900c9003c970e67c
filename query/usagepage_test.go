package query

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"agentmeter/schemas/api"
)

// Whoever comes to the front door finds the page by what is said there.
func TestTheFrontDoorLeadsToThePage(t *testing.T) {
	t.Parallel()
	s, router := newService(t, nil, frozen, DefaultConfig()) // the page asks nothing
	get := func(path string) *httptest.ResponseRecorder {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		request.Header.Set("Authorization", "Bearer "+s.token)
		answer := httptest.NewRecorder()
		router.ServeHTTP(answer, request)
		return answer
	}
	var said api.Problem
	if err := json.Unmarshal(get("/").Body.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`/[^ ,]*WORKSPACE[^ ,]*`).FindString(said.Detail)
	if page := get(strings.Replace(path, "WORKSPACE", "ws_acme", 1)); page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "<html") {
		t.Errorf("%q leads to %q, and that to %d %.100s", said.Detail, path, page.Code, page.Body)
	}
	if !strings.Contains(said.Detail, "agentmeter link") {
		t.Errorf("it does not say how to open the page: %s", said.Detail)
	}
}

// cells are the texts of a page's tables, row by row, tags taken out.
func cells(body string) (rows [][]string) {
	tags := regexp.MustCompile(`<[^>]*>`)
	for _, row := range regexp.MustCompile(`(?s)<tr[ >].*?</tr>`).FindAllString(body, -1) {
		var texts []string
		for _, cell := range regexp.MustCompile(`(?s)<t[hd][ >].*?</t[hd]>`).FindAllString(row, -1) {
			texts = append(texts, strings.TrimSpace(html.UnescapeString(tags.ReplaceAllString(cell, ""))))
		}
		rows = append(rows, texts)
	}
	return rows
}

// rowOf is the first row that begins with the given text.
func rowOf(t *testing.T, body, begins string) []string {
	t.Helper()
	for _, row := range cells(body) {
		if len(row) > 0 && strings.HasPrefix(row[0], begins) {
			return row
		}
	}
	t.Fatalf("no row begins with %q:\n%s", begins, body)
	return nil
}

func TestThePageWithoutScriptsShowsTheFiguresOfTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.describe(t, "ws", frozen.AddDate(0, -2, 0), "UTC", "", "10", "5")
	w.register(t, agentNamed("ws", "a", `<img src=x onerror=alert(1)>`, frozen.AddDate(0, -2, 0)))
	w.insert(t, []event{
		used("ws", "a", frozen.Add(-26*time.Hour), 1_234_500_000), used("ws", "a", frozen.Add(-2*time.Hour), 2_000_001), used("ws", "b", frozen.Add(-time.Hour), 4_000_000),
	})
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())

	answer := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=7d")
	// What the page with scripts keeps in its address says nothing here.
	response, body := s.get(t, "/w/ws/usage/figures?range=7d&metric=messages&sort=-name&table=1&hide=b&from=&to=")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", response.StatusCode, body)
	}
	page := string(body)
	if row := rowOf(t, page, "Total"); row[1] != "1,240.500001" || row[2] != "3" || answer.Summary.Credits != "1240.500001" {
		t.Errorf("the total is %v, and the answer says %s", row, answer.Summary.Credits)
	}
	if row := rowOf(t, page, "All agents"); row[1] != "1,240.500001" || row[3] != "3" {
		t.Errorf("all agents: %v", row)
	}
	if row := rowOf(t, page, "<img src=x"); row[1] != "1,236.500001" || row[2] != answer.Agents[0].Share+"%" {
		t.Errorf("the first agent: %v", row)
	}
	if !strings.Contains(page, `2<span class="of"> of 10</span>`) {
		t.Error("the slots are not shown")
	}
	if strings.Contains(page, "<img") || strings.Contains(page, "<script") {
		t.Error("a name became markup, or there is a script")
	}
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'none'") || !strings.Contains(policy, "form-action 'self'") {
		t.Errorf("policy %q", policy)
	}
	begun := 0
	for _, bar := range answer.Series {
		if bar.State != api.BarFuture {
			begun++
		}
	}
	if got := strings.Count(page, "data-state="); got != begun {
		t.Errorf("%d bars, want %d", got, begun)
	}

	_, one := s.get(t, "/w/ws/usage/figures?range=7d&agent=b")
	if row := rowOf(t, string(one), "Total"); row[1] != "4" {
		t.Errorf("of one agent: %v", row)
	}
	_, dates := s.get(t, "/w/ws/usage/figures?range=30d&from=2026-11-01&to=2026-11-01")
	if !strings.Contains(string(dates), "No usage data for this period") {
		t.Errorf("dates that were filled in do not come before the list's choice:\n%s", dates)
	}
}

func TestThePageWithoutScriptsSaysWhatItDoesNotKnow(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen.Add(-5*time.Hour), 3_000_000)})
	w.partitionProgress(t, 0, frozen.Add(-3*time.Hour), "a reason", frozen.Add(-3*time.Hour))
	s := w.serve(t, frozen, DefaultConfig())
	answer := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=today&grain=hour")
	_, body := s.get(t, "/w/ws/usage/figures?range=today&grain=hour")
	if answer.Completeness != api.Partial || !strings.Contains(string(body), "At least") || !strings.Contains(string(body), "Totals are at least") {
		t.Errorf("%s, and the page:\n%s", answer.Completeness, body)
	}
	rowOf(t, string(body), "Total, at least")
}

func TestThePageWithoutScriptsSaysWhatIsWrongWithAQuestion(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	for path, says := range map[string]string{
		"/w/ws/usage/figures?from=2026-11-24&to=2026-11-01":              "End date is before start date.",
		"/w/ws/usage/figures?from=2026-11-24":                            "to is required",
		"/w/ws/usage/figures?range=fortnight":                            "range is none of",
		"/w/ws/usage/figures?from=2025-01-01&to=2026-11-01&grain=minute": "more than 400 bars",
		"/w/ws/usage/proof?start=x&end=y":                                "start is not an RFC 3339 time",
	} {
		response, body := s.get(t, path)
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), says) || !strings.Contains(string(body), "This billing period") && strings.Contains(path, "figures") {
			t.Errorf("%s: status %d, want 400 and %q:\n%s", path, response.StatusCode, says, body)
		}
	}
}

func TestTheProofIsReadable(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen.Add(-26*time.Hour), 1_500_000), used("ws", "b", frozen.Add(-time.Hour), 4_000_000)})
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	// As the page with scripts links to it.
	path := "/w/ws/usage/proof?workspace=ws&range=7d&agent=all&grain=auto&compare=none"
	_, body := s.get(t, path)
	if !strings.Contains(string(body), "<strong>Yes.</strong>") {
		t.Errorf("not exact:\n%s", body)
	}
	for _, name := range []string{"Recorded events", "Figures on the Usage page"} {
		if row := rowOf(t, string(body), name); row[1] != "5.5" || row[3] != "2" {
			t.Errorf("%v", row)
		}
	}
	w.exec(t, "INSERT INTO usage_hour (workspace, time, agent, stream, partition, credits, messages, events) SELECT workspace, time, agent, stream, partition, 1000000, 0, 0 FROM usage_hour LIMIT 1", nil)
	if _, body := s.get(t, path); !strings.Contains(string(body), "<strong>No.</strong>") || rowOf(t, string(body), "By hour")[3] != "1" {
		t.Errorf("a rollup that is wrong passes for exact:\n%s", body)
	}
}
