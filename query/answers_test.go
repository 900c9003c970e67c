package query

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// used is a counted event of one message.
func used(workspace, agent string, at time.Time, credits schemas.Credits) event {
	return event{workspace: workspace, agent: agent, at: at, credits: credits, messages: 1, outcome: counted, channel: "embed"}
}

func TestAWorkspaceThatNothingHasMentionedAnswersZeros(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws_nobody&compare=prev")
	if d.Summary.Credits != "0" || d.Summary.Messages != "0" || d.Summary.Chatbots.Used != 0 || d.Summary.TeamMembers.Used != 0 ||
		d.Summary.Chatbots.Available != nil || d.RecordedEvents != "0" || d.PlaygroundMessages != "0" || d.LastUsageAt != nil ||
		d.AgentsTotal != 0 || d.Insights.Sentence != "" || d.Completeness != api.Complete {
		t.Errorf("not nothing: %+v", d)
	}
	if *d.Summary.Previous.Credits != "0" {
		t.Errorf("compared with %s", *d.Summary.Previous.Credits)
	}
	if len(d.Series) != 30 || *d.Series[0].Credits != "0" || d.Series[29].State != api.BarFuture || *d.Series[29].Credits != "0" {
		t.Errorf("not thirty bars of nothing: %+v", d.Series)
	}
	if p := ask[api.UsageAgentsPage](t, s, "/v1/usage/agents?workspace=ws_nobody"); len(p.Agents) != 0 || p.NextCursor != nil {
		t.Errorf("leaderboard of nobody: %+v", p)
	}
	if c := ask[api.AgentChoices](t, s, "/v1/agents?workspace=ws_nobody"); len(c.Agents) != 0 || c.Total != 0 {
		t.Errorf("choices of nobody: %+v", c)
	}
	if ws := ask[api.Workspace](t, s, "/v1/workspaces/ws_nobody"); ws.Name != "ws_nobody" || ws.Timezone != "UTC" || ws.BillingAnchor != nil || ws.AgentSlots != nil {
		t.Errorf("settings of nobody: %+v", ws)
	}
	if b := ask[api.Breakdown](t, s, "/v1/usage/breakdown?workspace=ws_nobody&by=model"); len(b.Items) != 0 || b.Total.Credits != "0" || b.Rest.Count != 0 {
		t.Errorf("breakdown of nothing: %+v", b)
	}
	if r := ask[api.Reconciliation](t, s, "/v1/usage/reconcile?workspace=ws_nobody"); !r.Exact || r.Ledger.Events != "0" {
		t.Errorf("nothing does not reconcile: %+v", r)
	}
}

func TestWhatIsNotKnownIsNotZero(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen.Add(-5*time.Hour), 3_000_000), used("ws", "a", frozen.Add(-90*time.Minute), 2_000_000)})
	s := w.serve(t, frozen, DefaultConfig())

	d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=today")
	if d.Completeness != api.Partial || d.Freshness.CountedThrough != nil || d.Freshness.LagSeconds != nil {
		t.Errorf("nothing has been said of the partitions, and yet: %s, %+v", d.Completeness, d.Freshness)
	}
	if d.Summary.Credits != "5" || d.Series[0].State != api.BarInProgress {
		t.Errorf("what is known is not shown: %s, %s", d.Summary.Credits, d.Series[0].State)
	}

	w.progress(t, frozen.Add(-6*time.Minute))
	d = ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=today")
	if d.Completeness != api.Partial || *d.Freshness.LagSeconds != 360 {
		t.Errorf("six minutes behind: %s, %v", d.Completeness, *d.Freshness.LagSeconds)
	}

	// One of its partitions stops at half past eleven; the others go on.
	own := schemas.PartitionsOf("ws", ledgerPartitions)
	halt := time.Date(2026, 11, 24, 11, 30, 0, 0, time.UTC)
	w.progress(t, frozen.Add(-time.Second))
	w.partitionProgress(t, own[0], halt, "the log begins above the ledger's end", halt)
	d = ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=today")
	if d.Completeness != api.Partial {
		t.Errorf("halted, and yet %s", d.Completeness)
	}
	for hour, want := range map[int]string{
		9: "final 3", 10: "final 0", 11: "missing null", 12: "missing null", 13: "missing 2", 14: "missing null", 15: "future 0",
	} {
		if got := string(d.Series[hour].State) + " " + text(d.Series[hour].Credits); got != want {
			t.Errorf("the bar of %d o'clock is %s, want %s", hour, got, want)
		}
	}
	if d.Summary.Credits != "5" {
		t.Errorf("at least %s, want 5", d.Summary.Credits)
	}
	_, body := s.get(t, "/v1/usage/export.csv?workspace=ws&range=today")
	if !strings.Contains(string(body), "2026-11-24T12:00:00Z,2026-11-24T13:00:00Z,,,,,missing\n") {
		t.Errorf("what is missing is not empty in the CSV:\n%s", body)
	}
	if d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=yesterday"); d.Completeness != api.Complete {
		t.Errorf("yesterday was counted before the halt, and yet %s", d.Completeness)
	}
}

func TestSlotsAreAsOfTheRangesEnd(t *testing.T) {
	w := newWorld(t)
	at := func(day int) time.Time { return time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC) }
	w.describe(t, "ws", at(1), "UTC", "", "10", "5")
	w.describe(t, "ws", at(20), "UTC", "", "12", unset)
	w.register(t,
		agentNamed("ws", "kept", "Kept", at(2)),
		agentNamed("ws", "gone", "Gone", at(2)), agentDeleted("ws", "gone", at(10)),
		agentNamed("ws", "back", "Back", at(2)), agentDeleted("ws", "back", at(5)), agentNamed("ws", "back", "Back again", at(15)),
		agentNamed("ws", "late", "Late", at(15)),
		memberNamed("ws", "ada", "Ada", at(2)), memberNamed("ws", "bo", "Bo", at(12)),
	)
	w.insert(t, []event{
		used("ws", "stranger", at(8), 1_000_000), // never registered
		used("ws", "late", at(4), 1_000_000),     // before it was registered
		used("ws", "gone", at(12), 1_000_000),    // after it was deleted
	})
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	tests := []struct {
		query               string
		used, members       int64
		slots, seats, agent string
	}{
		{"from=2026-10-01&to=2026-10-31", 0, 0, "null", "null", "before all"},
		{"from=2026-11-01&to=2026-11-03", 3, 1, "10", "5", "kept, gone, back"},
		{"from=2026-11-01&to=2026-11-04", 4, 1, "10", "5", "and late, that has sent"},
		{"from=2026-11-01&to=2026-11-09", 4, 1, "10", "5", "kept, gone, late, stranger"},
		{"from=2026-11-01&to=2026-11-13", 3, 2, "10", "5", "kept, late, stranger"},
		{"range=period", 4, 2, "12", "null", "and back"},
		{"range=period&agent=stranger", 1, 2, "12", "null", "never registered, has sent"},
		{"range=period&agent=gone", 0, 2, "12", "null", "deleted, has sent since"},
		{"range=period&agent=nobody", 0, 2, "12", "null", "never heard of"},
		{"from=2026-11-01&to=2026-11-07&agent=stranger", 0, 1, "10", "5", "has not sent yet"},
		{"from=2026-11-01&to=2026-11-09&agent=gone", 1, 1, "10", "5", "not deleted yet"},
		{"start=2026-11-08T11:00:00Z&end=2026-11-08T12:00:00Z&agent=stranger", 0, 1, "10", "5", "sends in the next minute"},
		{"start=2026-11-08T13:00:00Z&end=2026-11-08T14:00:00Z&agent=stranger", 1, 1, "10", "5", "has sent on the same day"},
		{"start=2026-11-08T13:00:00Z&end=2026-11-08T14:00:00Z", 4, 1, "10", "5", "has sent on the same day"},
	}
	for _, tt := range tests {
		d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&"+tt.query)
		c, m := d.Summary.Chatbots, d.Summary.TeamMembers
		if c.Used != tt.used || m.Used != tt.members || number(c.Available) != tt.slots || number(m.Available) != tt.seats {
			t.Errorf("%s (%s): %d of %s agents and %d of %s members, want %d of %s and %d of %s", tt.query, tt.agent,
				c.Used, number(c.Available), m.Used, number(m.Available), tt.used, tt.slots, tt.members, tt.seats)
		}
	}
	d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=period")
	for _, a := range d.Agents {
		if want := map[string]string{"stranger": "stranger false", "late": "Late false", "gone": "Gone true"}[a.ID]; fmt.Sprint(a.Name, " ", a.Deleted) != want {
			t.Errorf("%s is shown as %s, deleted %v; want %s", a.ID, a.Name, a.Deleted, want)
		}
	}
}

// crowd fills a workspace with agents whose amounts tie here and there.
func crowd(t *testing.T, w *world, n int) {
	t.Helper()
	var events []event
	var registrations []registered
	for i := range n {
		id := fmt.Sprintf("agt_%03d", i)
		e := used("ws", id, frozen.Add(-time.Duration(i+1)*time.Minute), schemas.Credits(i/3*1_000_000+1))
		e.messages = int64(i % 5)
		events = append(events, e, used("ws", id, frozen.AddDate(0, -1, 0), schemas.Credits((i*7%11)*100_000)))
		if i%4 == 0 {
			registrations = append(registrations, agentNamed("ws", id, fmt.Sprintf("Bot %c%d", 'Z'-rune(i%20), i), frozen.Add(-time.Hour)))
		}
	}
	w.insert(t, events)
	w.register(t, registrations...)
	w.progress(t, frozen.Add(-time.Second))
}

func TestPagesAddUpToTheLeaderboard(t *testing.T) {
	slowtest.Begin(t)
	const agents = 130
	w := newWorld(t)
	crowd(t, w, agents)
	s := w.serve(t, frozen, DefaultConfig())
	d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=today&compare=prev")
	if len(d.Agents) != 100 || d.AgentsTotal != agents {
		t.Fatalf("%d of %d agents, want 100 of %d", len(d.Agents), d.AgentsTotal, agents)
	}
	value := func(decimal string) *big.Rat {
		r, ok := new(big.Rat).SetString(decimal)
		if !ok {
			t.Fatalf("%q is no decimal", decimal)
		}
		return r
	}
	less := map[string]func(a, b api.AgentUsage) bool{ // a may not stand before b in ascending order if b is less
		"credits":  func(a, b api.AgentUsage) bool { return value(a.Credits).Cmp(value(b.Credits)) < 0 },
		"messages": func(a, b api.AgentUsage) bool { return value(a.Messages).Cmp(value(b.Messages)) < 0 },
		"name":     func(a, b api.AgentUsage) bool { return strings.ToLower(a.Name) < strings.ToLower(b.Name) },
		"credits_per_message": func(a, b api.AgentUsage) bool {
			if a.Messages == "0" || b.Messages == "0" {
				return a.Messages != "0" && b.Messages == "0"
			}
			return new(big.Rat).Quo(value(a.Credits), value(a.Messages)).Cmp(new(big.Rat).Quo(value(b.Credits), value(b.Messages))) < 0
		},
		"change": func(a, b api.AgentUsage) bool {
			if *a.PreviousCredits == "0" || *b.PreviousCredits == "0" {
				return *a.PreviousCredits != "0" && *b.PreviousCredits == "0"
			}
			change := func(x api.AgentUsage) *big.Rat {
				return new(big.Rat).Quo(new(big.Rat).Sub(value(x.Credits), value(*x.PreviousCredits)), value(*x.PreviousCredits))
			}
			return change(a).Cmp(change(b)) < 0
		},
	}
	for _, sort := range []string{"", "credits", "messages", "name", "credits_per_message", "change"} {
		for _, order := range []string{"", "asc", "desc"} {
			query := url.Values{"workspace": {"ws"}, "range": {"period"}, "compare": {"prev"}, "limit": {"37"}}
			if sort != "" {
				query.Set("sort", sort)
			}
			if order != "" {
				query.Set("order", order)
			}
			var all []api.AgentUsage
			for {
				page := ask[api.UsageAgentsPage](t, s, "/v1/usage/agents?"+query.Encode())
				if page.AgentsTotal != agents {
					t.Fatalf("%d agents in all, want %d", page.AgentsTotal, agents)
				}
				all = append(all, page.Agents...)
				if page.NextCursor == nil {
					break
				}
				if len(page.Agents) != 37 {
					t.Fatalf("a page of %d that is not the last", len(page.Agents))
				}
				query.Set("cursor", *page.NextCursor)
			}
			seen := map[string]bool{}
			credits := new(big.Rat)
			for i, a := range all {
				seen[a.ID] = true
				credits.Add(credits, value(a.Credits))
				by := less[sort]
				if sort == "" {
					by = less["credits"]
				}
				descending := order == "desc" || order == "" && sort != "name"
				if i > 0 && (descending && by(all[i-1], a) || !descending && by(a, all[i-1])) {
					t.Errorf("sort %q %q: %v stands before %v", sort, order, all[i-1], a)
				}
			}
			if len(seen) != agents || len(all) != agents {
				t.Errorf("sort %q %q: %d rows of %d agents, want %d", sort, order, len(all), len(seen), agents)
			}
			whole := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&range=period")
			if credits.Cmp(value(whole.Summary.Credits)) != 0 {
				t.Errorf("sort %q %q: rows add up to %s, want %s", sort, order, credits.FloatString(6), whole.Summary.Credits)
			}
		}
	}
	page := ask[api.UsageAgentsPage](t, s, "/v1/usage/agents?workspace=ws&sort=name&limit=1")
	same := []string{"sort=name&limit=2", "sort=name&order=asc&range=period&agent=all&grain=auto&compare=none"}
	for _, question := range same {
		if response, body := s.get(t, "/v1/usage/agents?workspace=ws&"+question+"&cursor="+*page.NextCursor); response.StatusCode != http.StatusOK {
			t.Errorf("%s is the question that the cursor is of: %d %s", question, response.StatusCode, body)
		}
	}
	old := base64.RawURLEncoding.EncodeToString([]byte(`{"s":"name","o":"asc","m":1,"n":"A","i":"a","c":"1","p":"0"}`))
	for question, cursor := range map[string]string{
		"/v1/usage/agents?workspace=ws&sort=credits":                            *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&order=desc":                    *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&range=7d":                      *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&agent=a":                       *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&compare=prev":                  *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&tz=Europe/Copenhagen":          *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name&from=2026-11-01&to=2026-11-02": *page.NextCursor,
		"/v1/usage/agents?workspace=ws_other&sort=name":                         *page.NextCursor,
		"/v1/agents?workspace=ws":                                               *page.NextCursor,
		"/v1/usage/agents?workspace=ws&sort=name":                               old, // as it was before questions were in it
	} {
		response, body := s.get(t, question+"&cursor="+cursor)
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), `"cursor_mismatch"`) || !strings.Contains(string(body), "ask without it for the first page") {
			t.Errorf("%s with the cursor of another question: %d %s", question, response.StatusCode, body)
		}
	}
}

func FuzzCursorsNeverPanic(f *testing.F) {
	p := place{Credits: schemas.SumOf(-5), Previous: schemas.CreditsSum{Hi: 1}, Messages: 7, Name: "É", ID: "a"}
	f.Add(p.encode(7))
	f.Add("eyJzIjoiY3JlZGl0cyJ9")
	f.Fuzz(func(t *testing.T, cursor string) {
		got, err := decodePlace(cursor, 7)
		if err != nil {
			return
		}
		again, err := decodePlace(got.encode(7), 7)
		if err != nil || again.compare(got, api.SortName, api.Ascending) != 0 {
			t.Fatalf("%q is %+v, and again %+v, %v", cursor, got, again, err)
		}
	})
}

func TestThePickerFindsAgentsAsPeopleLookForThem(t *testing.T) {
	w := newWorld(t)
	before := frozen.Add(-24 * time.Hour)
	w.register(t,
		agentNamed("ws", "agt_cafe", "Café Été", before),
		agentNamed("ws", "agt_sales", "Sales Bot", before),
		agentNamed("ws", "agt_idle", "Idle Bot", before),
		agentNamed("ws", "agt_old", "Old Bot", before), agentDeleted("ws", "agt_old", before.Add(time.Hour)),
		agentNamed("ws", "agt_unused", "Unused Bot", before), agentDeleted("ws", "agt_unused", before.Add(time.Hour)),
		agentNamed("other", "agt_foreign", "Foreign Bot", before),
	)
	w.insert(t, []event{
		used("ws", "agt_sales", frozen.Add(-time.Hour), 9_000_000),
		used("ws", "agt_cafe", frozen.Add(-2*time.Hour), 4_000_000),
		used("ws", "agt_stranger", frozen.Add(-2*time.Hour), 5_000_000),
		used("ws", "agt_old", frozen.AddDate(0, -3, 0), 99_000_000), // much, but long ago
	})
	s := w.serve(t, frozen, DefaultConfig())
	choose := func(query string) string {
		var b strings.Builder
		c := ask[api.AgentChoices](t, s, "/v1/agents?workspace=ws"+query)
		for _, a := range c.Agents {
			fmt.Fprintf(&b, "%s=%s %s", a.ID, a.Name, a.Credits)
			if a.Deleted {
				b.WriteString(" deleted")
			}
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "of %d", c.Total)
		return b.String()
	}
	all := "agt_sales=Sales Bot 9, agt_stranger=agt_stranger 5, agt_cafe=Café Été 4, agt_idle=Idle Bot 0, agt_old=Old Bot 0 deleted, of 5"
	for query, want := range map[string]string{
		"":                                 all,
		"&query=" + url.QueryEscape(" "):   all,
		"&query=cafe":                      "agt_cafe=Café Été 4, of 1",
		"&query=" + url.QueryEscape("ÉTÉ"): "agt_cafe=Café Été 4, of 1",
		"&query=BOT":                       "agt_sales=Sales Bot 9, agt_idle=Idle Bot 0, agt_old=Old Bot 0 deleted, of 3",
		"&query=stranger":                  "agt_stranger=agt_stranger 5, of 1",
		"&query=foreign":                   "of 0",
		"&query=xyz":                       "of 0",
	} {
		if got := choose(query); got != want {
			t.Errorf("%q finds\n%s, want\n%s", query, got, want)
		}
	}
	var paged []string
	cursor := ""
	for {
		c := ask[api.AgentChoices](t, s, "/v1/agents?workspace=ws&limit=2"+cursor)
		for _, a := range c.Agents {
			paged = append(paged, a.ID)
		}
		if c.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *c.NextCursor
	}
	if want := []string{"agt_sales", "agt_stranger", "agt_cafe", "agt_idle", "agt_old"}; !slices.Equal(paged, want) {
		t.Errorf("pages hold %q, want %q", paged, want)
	}
}

func TestCSVIsQuotedAndRunsNoFormula(t *testing.T) {
	w := newWorld(t)
	names := map[string]string{
		"agt_formula": `=HYPERLINK("http://evil")`, "agt_plus": "+1", "agt_at": "@cmd", "agt_quotes": `Say "hi", friend`,
		"agt_lines": "two words", "-agt": "Minus", "agt_wide": "＝1+1", "'agt": "'tis",
	}
	var registrations []registered
	var events []event
	for id, name := range names {
		registrations = append(registrations, agentNamed("ws", id, name, frozen.Add(-48*time.Hour)))
		events = append(events, used("ws", id, frozen.Add(-time.Minute), 1_500_000))
	}
	events = append(events, event{workspace: "ws", agent: "agt_plus", at: frozen.Add(-time.Minute), credits: -2_000_000, outcome: adjustment})
	w.insert(t, events)
	w.register(t, registrations...)
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	response, body := s.get(t, "/v1/usage/export.csv?workspace=ws&start=2026-11-24T14:00:00Z&end=2026-11-24T15:00:00Z&grain=hour")
	if got := response.Header.Get("Content-Disposition"); got != `attachment; filename="usage_ws_2026-11-24_2026-11-24.csv"` {
		t.Errorf("Content-Disposition %s", got)
	}
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Errorf("Content-Type %s", got)
	}
	golden(t, "export.csv", string(body))
	rows, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+len(names) {
		t.Errorf("%d rows, want one an agent: %q", len(rows)-1, rows)
	}
}

func TestCSVOfAnyLengthTilesItsRange(t *testing.T) {
	w := newWorld(t)
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	var events []event
	for n := range 500 {
		events = append(events, used("ws", fmt.Sprintf("agt_%d", n%9), start.Add(time.Duration(n*7)*time.Minute), 250_000))
	}
	w.insert(t, events)
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	_, body := s.get(t, "/v1/usage/export.csv?workspace=ws&from=2026-11-20&to=2026-11-23&grain=minute")
	rows, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 4*24*60; len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	at := start.Format(time.RFC3339)
	total := new(big.Rat)
	for _, row := range rows[1:] {
		if row[0] != at {
			t.Fatalf("a bar starts at %s, want %s", row[0], at)
		}
		at = row[1]
		credits, _ := new(big.Rat).SetString(row[4])
		total.Add(total, credits)
	}
	if at != "2026-11-24T00:00:00Z" || total.Cmp(big.NewRat(125, 1)) != 0 {
		t.Errorf("the bars end at %s and hold %s, want 125", at, total.FloatString(2))
	}
}

func TestUnchangedFiguresOfAClosedRangeAreNotSentAgain(t *testing.T) {
	w := newWorld(t)
	yesterday := frozen.Add(-24 * time.Hour)
	w.register(t, agentNamed("ws", "a", "First", yesterday))
	w.insert(t, []event{used("ws", "a", yesterday, 1_000_000)})
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	const path = "/v1/usage/dashboard?workspace=ws&range=yesterday"
	response, _ := s.get(t, path)
	tag := response.Header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	if got := response.Header.Get("Cache-Control"); got != "private, no-cache" {
		t.Errorf("Cache-Control %s", got)
	}
	expect := func(what, path string, status int) {
		t.Helper()
		response, body := s.get(t, path, "If-None-Match", `"other", `+tag)
		if response.StatusCode != status {
			t.Errorf("%s: %d, want %d: %s", what, response.StatusCode, status, body)
		}
		if status == http.StatusNotModified && (len(body) > 0 || response.Header.Get("ETag") != tag) {
			t.Errorf("%s: a 304 with %q and the tag %s", what, body, response.Header.Get("ETag"))
		}
		if status == http.StatusOK {
			tag = response.Header.Get("ETag")
		}
	}
	expect("nothing has changed", path, http.StatusNotModified)
	s.now = frozen.Add(time.Minute)
	w.progress(t, s.now)
	expect("time has passed and the ledger was looked through", path, http.StatusNotModified)
	w.insert(t, []event{used("ws", "a", frozen, 1_000_000), used("other", "a", yesterday, 1_000_000)})
	expect("usage after the range, and elsewhere", path, http.StatusNotModified)

	w.insert(t, []event{used("ws", "a", yesterday, 1_000_000)})
	expect("a late event", path, http.StatusOK)
	expect("and then nothing", path, http.StatusNotModified)
	w.insert(t, []event{{workspace: "ws", agent: "a", at: yesterday, credits: -1_000_000, messages: -1, outcome: adjustment}})
	expect("an adjustment", path, http.StatusOK)
	w.insert(t, []event{{workspace: "ws", agent: "a", at: yesterday, messages: 1, outcome: playground}})
	expect("a Playground test", path, http.StatusOK)
	w.insert(t, []event{used("ws", "a", yesterday.AddDate(0, 0, -7), 1_000_000)})
	expect("what is usual", path, http.StatusOK)
	w.register(t, agentNamed("ws", "a", "Second", frozen))
	expect("a name", path, http.StatusOK)
	w.describe(t, "ws", yesterday.Add(-time.Hour), "UTC", "", "10", "5")
	expect("the slots", path, http.StatusOK)
	expect("another question", path+"&agent=a", http.StatusOK)
	expect("the same other question", path+"&agent=a", http.StatusNotModified)
	w.insert(t, []event{used("ws", "b", frozen, 1_000_000)})
	expect("the last usage, which is not the agent's", path+"&agent=a", http.StatusNotModified)
	w.insert(t, []event{used("ws", "a", frozen.Add(30*time.Minute), 1_000_000)})
	expect("the agent's last usage", path+"&agent=a", http.StatusOK)
	expect("another comparison", path+"&agent=a&compare=prev", http.StatusOK)
	expect("another zone", path+"&agent=a&compare=prev&tz=Asia/Kolkata", http.StatusOK)

	empty := "/v1/usage/dashboard?workspace=ws&from=2026-06-01&to=2026-06-02"
	expect("an empty range", empty, http.StatusOK)
	expect("an empty range again", empty, http.StatusNotModified)
	w.insert(t, []event{used("ws", "a", frozen, 1_000_000)})
	expect("the last usage is the same", empty, http.StatusNotModified)
	w.insert(t, []event{used("ws", "a", frozen.Add(time.Hour), 1_000_000)})
	expect("the last usage is another", empty, http.StatusOK)

	// A range that is open, as long as nothing of it has changed.
	open := "/v1/usage/dashboard?workspace=ws&range=today"
	expect("an open range", open, http.StatusOK)
	expect("an open range again", open, http.StatusNotModified)
	w.insert(t, []event{used("ws", "a", frozen, 1_000_000)})
	expect("usage today", open, http.StatusOK)
	s.now = s.now.Add(time.Hour)
	expect("it lies further behind", open, http.StatusOK)
	w.progress(t, s.now)
	expect("an hour has been counted", open, http.StatusOK)
	expect("nothing since", open, http.StatusNotModified)
	if response, _ := s.get(t, empty); response.Header.Get("Date") != s.now.Format(http.TimeFormat) {
		t.Errorf("an answer is dated %s, want %s: readers tell by it which day it is", response.Header.Get("Date"), s.now)
	}
	unchanged := at304(t, s, open, tag)
	if through, _ := time.Parse(time.RFC3339, unchanged.Get("Counted-Through")); !through.Equal(s.now) {
		t.Errorf("a 304 says that all is counted through %s, want %s", through, s.now)
	}
	if sent, _ := http.ParseTime(unchanged.Get("Date")); !sent.Equal(s.now.Truncate(time.Second)) {
		t.Errorf("a 304 says that it is %s, want %s: readers tell by both how far the figures lag", sent, s.now)
	}
}

// at304 is the header of an answer that nothing has changed.
func at304(t *testing.T, s *service, path, tag string) http.Header {
	t.Helper()
	response, _ := s.get(t, path, "If-None-Match", tag)
	if response.StatusCode != http.StatusNotModified {
		t.Errorf("%s: %d, want 304", path, response.StatusCode)
	}
	return response.Header
}

// Two answers with one tag are the same to the last byte, and a tag of an answer
// that says the same figures at another moment is as good as its own.
func TestEntityTagsAreStrong(t *testing.T) {
	w := newWorld(t)
	yesterday := frozen.Add(-24 * time.Hour)
	w.insert(t, []event{used("ws", "a", yesterday, 1_000_000)})
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	const path = "/v1/usage/dashboard?workspace=ws&range=7d&compare=prev"
	bodies := map[string]string{}
	var tags []string
	look := func() {
		t.Helper()
		response, body := s.get(t, path)
		tag := response.Header.Get("ETag")
		if !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
			t.Fatalf("%s is no strong tag", tag)
		}
		if same, ok := bodies[tag]; ok && same != string(body) {
			t.Errorf("two answers with the tag %s:\n%s\n%s", tag, same, body)
		}
		bodies[tag] = string(body)
		tags = append(tags, tag)
	}
	look()
	look()
	w.progress(t, frozen.Add(-time.Millisecond))
	look()
	s.now = frozen.Add(time.Second)
	look()
	if tags[0] != tags[1] || tags[1] == tags[2] || tags[2] == tags[3] {
		t.Errorf("tags %q: want the first two alike and no others", tags)
	}
	s.now = frozen
	for _, tag := range []string{tags[0], "W/" + tags[0], tags[2], "*"} {
		at304(t, s, path, tag)
	}
	for _, wrong := range []string{`"` + strings.SplitN(tags[0], ".", 2)[0][1:] + `"`, strings.Trim(tags[0], `"`), `"x` + tags[0][1:], `""`, `"."`} {
		if response, _ := s.get(t, path, "If-None-Match", wrong); response.StatusCode != http.StatusOK {
			t.Errorf("the tag %s, which no answer had, is answered %d", wrong, response.StatusCode)
		}
	}
	if response, _ := s.get(t, path+"&agent=a", "If-None-Match", tags[0]); response.StatusCode != http.StatusOK {
		t.Errorf("another question with the tag: %d", response.StatusCode)
	}
}

func TestBreakdownsHaveWhatSpentMostAndTheRestInOne(t *testing.T) {
	w := newWorld(t)
	var events []event
	for n := range 120 {
		e := used("ws", "a", frozen.Add(-time.Duration(n)*time.Minute), schemas.Credits(n)*1_000_000)
		e.channel = []string{"embed", "api", "whatsapp"}[n%3]
		e.conversation = fmt.Sprintf("conv_%d", n/2)
		if n%2 == 0 {
			e.model = "large"
		}
		events = append(events, e)
	}
	events = append(events, used("ws", "b", frozen.Add(-time.Minute), 999_000_000), used("ws", "a", frozen.AddDate(0, 0, -3), 5_000_000))
	w.insert(t, events)
	s := w.serve(t, frozen, DefaultConfig())
	b := ask[api.Breakdown](t, s, "/v1/usage/breakdown?workspace=ws&by=channel&range=today&agent=a")
	got := ""
	for _, item := range b.Items {
		got += fmt.Sprint(item.Key, " ", item.Credits, " ", item.Messages, " ", item.Share, ", ")
	}
	if want := "whatsapp 2420 40 33.9, api 2380 40 33.3, embed 2340 40 32.8, "; got != want {
		t.Errorf("by channel: %s, want %s", got, want)
	}
	if b.Total.Credits != "7140" || b.Total.Messages != "120" || b.Rest.Count != 0 || b.Rest.Credits != "0" {
		t.Errorf("in all %+v, the rest %+v", b.Total, b.Rest)
	}
	whole := "/v1/usage/breakdown?workspace=ws&by=channel&grain=month&"
	ask[api.Breakdown](t, s, whole+"from=2025-10-21&to=2026-11-24")                      // 400 days
	ask[api.Breakdown](t, s, whole+"from=2025-10-21&to=2026-11-24&tz=Europe/Copenhagen") // and an hour
	response, body := s.get(t, whole+"from=2025-10-20&to=2026-11-24")
	if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), `"range_too_long"`) {
		t.Errorf("a breakdown of more than 400 days: %d %s", response.StatusCode, body)
	}
	b = ask[api.Breakdown](t, s, "/v1/usage/breakdown?workspace=ws&by=conversation&range=today&agent=a")
	if len(b.Items) != 50 || b.Items[0].Key != "conv_59" || b.Rest.Count != 10 || b.Total.Credits != "7140" {
		t.Errorf("by conversation: %d items, first %+v, the rest %+v of %+v", len(b.Items), b.Items[0], b.Rest, b.Total)
	}
	b = ask[api.Breakdown](t, s, "/v1/usage/breakdown?workspace=ws&by=model&range=today&agent=a")
	if len(b.Items) != 2 || b.Items[0].Key != "" || b.Items[1].Key != "large" {
		t.Errorf("by model: %+v", b.Items)
	}
}

func TestSettingsAreAsTheyWereLastStated(t *testing.T) {
	w := newWorld(t)
	w.describe(t, "ws", frozen.Add(-time.Hour), "Europe/Copenhagen", "2026-01-31", "10", "5")
	w.describe(t, "ws", frozen.Add(time.Hour), "Asia/Tokyo", "", unset, unset) // not yet
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	ws := ask[api.Workspace](t, s, "/v1/workspaces/ws")
	got, err := json.Marshal(ws)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"agent_slots":10,"billing_anchor":"2026-01-31","id":"ws","links":{"billing":"https://example.com/billing"},"name":"Acme","product_name":"Acme Agents","seats":5,"support_email":"help@example.com","timezone":"Europe/Copenhagen"}`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws")
	if *d.Range.From != "2026-10-31" || *d.Range.To != "2026-11-29" || d.Range.Timezone != "Europe/Copenhagen" {
		t.Errorf("the billing period is %s to %s in %s", *d.Range.From, *d.Range.To, d.Range.Timezone)
	}
	d = ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&tz=Asia/Kathmandu")
	if d.Range.Timezone != "Asia/Kathmandu" || d.Range.Start.Format(time.RFC3339) != "2026-10-30T18:15:00Z" {
		t.Errorf("another zone does not replace the workspace's: %+v", d.Range)
	}
}

// What bars are compared with is all of what the range is compared with, and each
// bar with as many days as it has.
func TestComparedBarsAddUpToTheComparison(t *testing.T) {
	w := newWorld(t)
	var events []event
	for day := range 120 {
		events = append(events, used("ws", "a", frozen.AddDate(0, 0, -day), 1_000_000))
	}
	w.insert(t, events)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	for _, query := range []string{
		"range=last_month&grain=month&compare=prev_dow", "range=30d&grain=week&compare=prev", "range=last_month&grain=week&compare=prev",
		"range=90d&grain=month&compare=prev&tz=Asia/Kathmandu", "from=2026-10-06&to=2026-11-20&grain=week&compare=prev_dow&tz=Pacific/Chatham",
		"start=2026-10-19T08:37:00Z&end=2026-10-29T08:37:00Z&grain=week&compare=prev&tz=Pacific/Chatham",
	} {
		d := ask[api.Dashboard](t, s, "/v1/usage/dashboard?workspace=ws&"+query)
		sum := new(big.Rat)
		for i, bar := range d.Series {
			if bar.Previous == nil {
				t.Errorf("%s: bar %d is compared with nothing", query, i)
				continue
			}
			credits, _ := new(big.Rat).SetString(*bar.Previous.Credits)
			sum.Add(sum, credits)
			if own, other := bar.End.Sub(bar.Start), bar.Previous.End.Sub(bar.Previous.Start); i < len(d.Series)-1 && (own-other).Abs() > time.Hour {
				t.Errorf("%s: bar %d of %s is compared with %s", query, i, own, other)
			}
		}
		if want, _ := new(big.Rat).SetString(*d.Summary.Previous.Credits); sum.Cmp(want) != 0 || want.Sign() == 0 {
			t.Errorf("%s: the bars are compared with %s credits, and the range with %s", query, sum.FloatString(1), want.FloatString(1))
		}
	}
}
