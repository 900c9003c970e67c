package query

import (
	"encoding/csv"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"agentmeter/schemas/api"
)

// amounts are credits and messages as answers carry them, added up exactly.
type amounts struct{ credits, messages *big.Rat }

func noAmounts() amounts { return amounts{new(big.Rat), new(big.Rat)} }

func amountsOf(t testing.TB, credits, messages string) amounts {
	t.Helper()
	return amounts{rat(t, credits), rat(t, messages)}
}

func (a amounts) add(b amounts) {
	a.credits.Add(a.credits, b.credits)
	a.messages.Add(a.messages, b.messages)
}

func (a amounts) String() string {
	return fmt.Sprint(a.credits.FloatString(6), " credits, ", a.messages.FloatString(0), " messages")
}

// law is one drawn question, about which answers must agree with one another.
// No answer is held against the events here: what could be wrong in the oracle
// and in the service alike shows all the same.
type law struct {
	t   *testing.T
	s   *service
	rng *rand.Rand
	n   int
	a   asking
	// whole is the dashboard of the question, and fixed the same question with
	// instants instead of a preset or dates.
	whole api.Dashboard
	fixed url.Values
}

func (l law) equal(what string, got, want any) {
	l.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Errorf("question %d, %s: %s: %v, want %v", l.n, l.a.query(), what, got, want)
	}
}

func (l law) headline(d api.Dashboard) amounts {
	l.t.Helper()
	return amountsOf(l.t, d.Summary.Credits, d.Summary.Messages)
}

// with is the fixed question with some parameters of its own; "" takes one out.
func (l law) with(pairs ...string) string {
	v := url.Values{}
	for name, values := range l.fixed {
		v[name] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			v.Del(pairs[i])
		}
	}
	return v.Encode()
}

// dashboard asks for a dashboard that may have too many bars.
func (l law) dashboard(query string) (d api.Dashboard, ok bool) {
	l.t.Helper()
	path := "/v1/usage/dashboard?" + query
	if response, body := l.s.get(l.t, path); response.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "too_many_bars") {
		return d, false
	}
	return ask[api.Dashboard](l.t, l.s, path), true
}

// TestAnswersAgreeWithOneAnother asks random questions, and holds the answers to
// laws that no figure can break and be right.
func TestAnswersAgreeWithOneAnother(t *testing.T) {
	rng := seeded(t)
	now := time.Date(2026, 11, 24, 14, 32, 5, 118_000_000, time.UTC)
	w := newWorld(t)
	w.insert(t, drawEvents(rng, now))
	w.register(t, drawDirectory(rng, now)...)
	w.describe(t, "ws_many", now.Add(-300*day), "Europe/Copenhagen", "2026-01-31", "10", "5")
	w.progress(t, now.Add(-time.Second))
	s := w.serve(t, now, DefaultConfig())

	tried, held := map[string]int{}, map[string]int{}
	untested := func() bool {
		return slices.ContainsFunc(laws, func(l namedLaw) bool { return held[l.name] == 0 })
	}
	for n := 0; n < *questionsFlag/4 || untested(); n++ {
		if n > 5**questionsFlag {
			t.Fatalf("no question of %d put some law to the test: the draw is off: %v", n, held)
		}
		l := law{t: t, s: s, rng: rng, n: n, a: drawAsking(rng, now)}
		var ok bool
		if l.whole, ok = l.dashboard(l.a.query()); !ok {
			continue
		}
		l.fixed = url.Values{
			"workspace": {l.a.workspace}, "tz": {l.whole.Range.Timezone}, "agent": {l.a.agent},
			"start": {l.whole.Range.Start.Format(time.RFC3339)}, "end": {l.whole.Range.End.Format(time.RFC3339)},
		}
		if l.a.agent == "" {
			delete(l.fixed, "agent")
		}
		for i, law := range laws {
			if i > 0 && rng.IntN(3) > 0 { // each asks several questions of its own
				continue
			}
			tried[law.name]++
			if law.check(l) {
				held[law.name]++
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	triedAll, heldAll := 0, 0
	for _, law := range laws {
		t.Logf("%s: %d of %d questions put it to the test", law.name, held[law.name], tried[law.name])
		triedAll, heldAll = triedAll+tried[law.name], heldAll+held[law.name]
	}
	if triedAll >= 100 && heldAll < triedAll/5 {
		t.Errorf("only %d of %d put a law to the test: the draw is off", heldAll, triedAll)
	}
}

type namedLaw struct {
	name  string
	check func(l law) bool
}

// laws are what any answers agree on. Each reports whether the question put it
// to the test; the first needs no other question.
var laws = []namedLaw{
	{"bars tile the range and add up to the headline", law.bars},
	{"the bars of a coarser grain are sums of a finer one's", law.grains},
	{"agents add up to the workspace", law.agents},
	{"the parts of any partition add up to the whole", law.parts},
	{"the CSV adds up to the headline and the leaderboard", law.csv},
	{"an agent's dashboard is its row of the leaderboard", law.oneAgent},
	{"what is behind the figures adds up to them", law.behind},
}

func (l law) bars() bool {
	series := l.whole.Series
	l.equal("the first bar begins", series[0].Start, l.whole.Range.Start)
	l.equal("the last bar ends", series[len(series)-1].End, l.whole.Range.End)
	total := noAmounts()
	for i, bar := range series {
		if !bar.Start.Before(bar.End) {
			l.t.Errorf("question %d, %s: bar %d is empty: %v to %v", l.n, l.a.query(), i, bar.Start, bar.End)
		}
		if i > 0 {
			l.equal("a bar begins where the one before ends", bar.Start, series[i-1].End)
		}
		own, agents := amountsOf(l.t, *bar.Credits, *bar.Messages), noAmounts()
		total.add(own)
		for _, a := range bar.Agents {
			agents.add(amountsOf(l.t, a.Credits, a.Messages))
		}
		l.equal(fmt.Sprintf("the agents of bar %d", i), agents, own)
	}
	l.equal("the sum of the bars", total, l.headline(l.whole))
	return total.messages.Sign() != 0
}

// coarser are pairs of grains of which each bar of the second is made of whole
// bars of the first. Months are not made of weeks.
var coarser = [][2]string{{"minute", "hour"}, {"minute", "day"}, {"hour", "day"}, {"hour", "week"}, {"day", "week"}, {"day", "month"}}

func (l law) grains() bool {
	pair := coarser[l.rng.IntN(len(coarser))]
	question := []string{"compare", ""}
	if length := l.whole.Range.End.Sub(l.whole.Range.Start); length > 300*time.Minute && pair[0] == "minute" || length > 300*time.Hour && pair[0] == "hour" {
		// As much of the range as the finer grain has bars for, from any minute on.
		most := map[string]time.Duration{"minute": 300 * time.Minute, "hour": 300 * time.Hour}[pair[0]]
		start := l.whole.Range.Start.Add(time.Duration(l.rng.Int64N(int64(length - most)))).Truncate(time.Minute)
		question = []string{"start", start.Format(time.RFC3339), "end", start.Add(most).Format(time.RFC3339)}
	}
	fine, ok := l.dashboard(l.with(append(question, "grain", pair[0])...))
	if !ok {
		return false
	}
	coarse, ok := l.dashboard(l.with(append(question, "grain", pair[1])...))
	if !ok {
		l.t.Fatalf("question %d, %s: %s bars fit and %s bars do not", l.n, l.a.query(), pair[0], pair[1])
	}
	l.equal("the headline by "+pair[0]+" and by "+pair[1], l.headline(fine), l.headline(coarse))
	next := 0
	for _, bar := range coarse.Series {
		total, start := noAmounts(), bar.Start
		for next < len(fine.Series) && fine.Series[next].Start.Before(bar.End) {
			own := fine.Series[next]
			l.equal(fmt.Sprintf("a %s of the %s from %v begins", pair[0], pair[1], bar.Start), own.Start, start)
			total.add(amountsOf(l.t, *own.Credits, *own.Messages))
			start = own.End
			next++
		}
		l.equal(fmt.Sprintf("the last %s of the %s from %v ends", pair[0], pair[1], bar.Start), start, bar.End)
		l.equal(fmt.Sprintf("the %ss of the %s from %v", pair[0], pair[1], bar.Start), total, amountsOf(l.t, *bar.Credits, *bar.Messages))
	}
	return len(fine.Series) > len(coarse.Series)
}

// everyRow follows the leaderboard's pages.
func (l law) everyRow(query string) (rows []api.AgentUsage) {
	l.t.Helper()
	for cursor := ""; ; {
		page := ask[api.UsageAgentsPage](l.t, l.s, "/v1/usage/agents?"+query+"&limit=100"+cursor)
		rows = append(rows, page.Agents...)
		if page.NextCursor == nil {
			l.equal("agents in all", page.AgentsTotal, len(rows))
			return rows
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

func (l law) agents() bool {
	total := noAmounts()
	rows := l.everyRow(l.with("agent", ""))
	for _, row := range rows {
		total.add(amountsOf(l.t, row.Credits, row.Messages))
	}
	l.equal("the sum of all agents", total, amountsOf(l.t, l.whole.WorkspaceTotal.Credits, l.whole.WorkspaceTotal.Messages))
	return len(rows) > 1
}

func (l law) parts() bool {
	start, end := l.whole.Range.Start, l.whole.Range.End
	minutes := int64(end.Sub(start) / time.Minute)
	if minutes < 2 {
		return false
	}
	cuts := []time.Time{start, end}
	for range 1 + l.rng.IntN(4) {
		cuts = append(cuts, start.Add(time.Duration(1+l.rng.Int64N(minutes-1))*time.Minute))
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)
	total, tests, recorded := noAmounts(), new(big.Rat), new(big.Rat)
	for i, from := range cuts[:len(cuts)-1] {
		part, ok := l.dashboard(l.with("start", from.Format(time.RFC3339), "end", cuts[i+1].Format(time.RFC3339)))
		if !ok {
			l.t.Fatalf("question %d, %s: the grain that shows a part well has too many bars", l.n, l.a.query())
		}
		total.add(l.headline(part))
		tests.Add(tests, rat(l.t, part.PlaygroundMessages))
		recorded.Add(recorded, rat(l.t, part.RecordedEvents))
	}
	what := fmt.Sprintf(" in the parts at %v", cuts)
	l.equal("the figures"+what, total, l.headline(l.whole))
	l.equal("the Playground messages"+what, tests.FloatString(0), l.whole.PlaygroundMessages)
	l.equal("the recorded events"+what, recorded.FloatString(0), l.whole.RecordedEvents)
	return total.messages.Sign() != 0
}

func (l law) csv() bool {
	_, body := l.s.get(l.t, "/v1/usage/export.csv?"+l.a.query())
	rows, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
	if err != nil {
		l.t.Fatalf("question %d, %s: CSV: %v", l.n, l.a.query(), err)
	}
	total, agents := noAmounts(), map[string]amounts{}
	for _, row := range rows[1:] {
		own := amountsOf(l.t, row[4], row[5])
		total.add(own)
		if row[2] == "" {
			l.equal("a bar without usage", own, noAmounts())
			continue
		}
		if _, found := agents[row[2]]; !found {
			agents[row[2]] = noAmounts()
		}
		agents[row[2]].add(own)
	}
	l.equal("the sum of the CSV", total, l.headline(l.whole))
	board := l.everyRow(l.with())
	for _, row := range board {
		own, found := agents[row.ID]
		if !found {
			own = noAmounts()
		}
		l.equal("the CSV's rows of "+row.ID, own, amountsOf(l.t, row.Credits, row.Messages))
	}
	l.equal("agents in the CSV", len(agents), len(board))
	return len(agents) > 0
}

func (l law) oneAgent() bool {
	a := l.a
	a.agent = allAgents
	all := ask[api.Dashboard](l.t, l.s, "/v1/usage/dashboard?"+a.query())
	if len(all.Agents) == 0 {
		return false
	}
	row := all.Agents[l.rng.IntN(len(all.Agents))]
	a.agent = row.ID
	own := ask[api.Dashboard](l.t, l.s, "/v1/usage/dashboard?"+a.query())
	what := row.ID + "'s "
	l.equal(what+"figures", l.headline(own), amountsOf(l.t, row.Credits, row.Messages))
	l.equal(what+"workspace", own.WorkspaceTotal, all.WorkspaceTotal)
	l.equal(what+"range", fmt.Sprint(own.Range.Start, own.Range.End, own.Range.Grain), fmt.Sprint(all.Range.Start, all.Range.End, all.Range.Grain))
	bars := make([]string, len(own.Series))
	for i, bar := range own.Series {
		bars[i] = *bar.Credits
		for _, a := range all.Series[i].Agents {
			if a.ID != nil && *a.ID == row.ID {
				l.equal(fmt.Sprint(what, "part of bar ", i), amountsOf(l.t, *bar.Credits, *bar.Messages), amountsOf(l.t, a.Credits, a.Messages))
			}
		}
	}
	l.equal(what+"bars", bars, row.Spark)
	if previous := own.Summary.Previous; previous != nil {
		l.equal(what+"comparison", text(previous.Credits)+" "+text(previous.Messages), text(row.PreviousCredits)+" "+text(row.PreviousMessages))
	} else {
		l.equal(what+"comparison", text(row.PreviousCredits), "null")
	}
	if len(own.Agents) != 1 || own.Agents[0].ID != row.ID || own.AgentsTotal != 1 {
		l.t.Errorf("question %d, %s: the leaderboard of %s is %v", l.n, l.a.query(), row.ID, own.Agents)
	}
	return true
}

func (l law) behind() bool {
	by := []string{"channel", "model", "conversation"}[l.rng.IntN(3)]
	if l.whole.Range.End.Sub(l.whole.Range.Start) > (maxBreakdownDays-1)*24*time.Hour {
		return false
	}
	got := ask[api.Breakdown](l.t, l.s, "/v1/usage/breakdown?"+l.with("by", by))
	total := amountsOf(l.t, got.Rest.Credits, got.Rest.Messages)
	for _, item := range got.Items {
		total.add(amountsOf(l.t, item.Credits, item.Messages))
	}
	l.equal("the sum by "+by, total, l.headline(l.whole))
	l.equal("the total by "+by, amountsOf(l.t, got.Total.Credits, got.Total.Messages), total)
	return len(got.Items) > 0
}
