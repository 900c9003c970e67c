package query

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "seed of the random questions; 0 takes the time")
	questionsFlag = flag.Int("questions", slowtest.Number(40, 400), "how many random questions are asked")
)

func seeded(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; again with -seed=%d", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

var differentialZones = []string{
	"UTC", "Europe/Copenhagen", "Asia/Kathmandu", "Asia/Kolkata", "Pacific/Chatham", "America/Santiago",
	"Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "America/New_York", "Pacific/Kiritimati",
}

const day = 24 * time.Hour

// drawEvents makes a history of two years, most of it of late and some of it
// right at what cuts bars and tiers.
func drawEvents(rng *rand.Rand, now time.Time) []event {
	var events []event
	zones := make([]*time.Location, len(differentialZones))
	for i, name := range differentialZones {
		zone, err := calendar.LoadZone(name)
		if err != nil {
			panic(err) // there is no test without its zones
		}
		zones[i] = zone
	}
	add := func(workspace string, agents, n int, largest int64) {
		for range n {
			var back time.Duration
			switch rng.IntN(10) {
			case 0:
				back = time.Duration(rng.Int64N(int64(700 * day)))
			case 1, 2, 3:
				back = time.Duration(rng.Int64N(int64(3 * day)))
			default:
				back = time.Duration(rng.Int64N(int64(100 * day)))
			}
			at := now.Add(-back).Truncate(time.Microsecond)
			edge := time.Duration(rng.IntN(3)-1) * time.Microsecond
			switch rng.IntN(6) {
			case 0, 1: // at an edge, to the microsecond on either side
				step := []time.Duration{time.Minute, 15 * time.Minute, time.Hour, day}[rng.IntN(4)]
				at = at.Truncate(step).Add(edge)
			case 2: // where days begin for somebody
				zone := zones[rng.IntN(len(zones))]
				at = dayStart(todayIn(at, zone), zone).Add(edge)
			}
			e := event{
				workspace: workspace, agent: fmt.Sprintf("agt_%d", int(rng.ExpFloat64()*float64(agents)/4)%agents),
				at: at, credits: schemas.Credits(rng.Int64N(largest)), messages: rng.Int64N(4),
				outcome: counted, channel: []string{"embed", "api", "whatsapp", "Köln"}[rng.IntN(4)],
				model: []string{"", "small", "large"}[rng.IntN(3)],
			}
			if rng.IntN(2) == 0 { // amounts that are equal more often
				e.credits -= e.credits % 500_000
			}
			if rng.IntN(3) > 0 {
				e.conversation = fmt.Sprintf("conv_%d", int(rng.ExpFloat64()*40))
			}
			switch rng.IntN(20) {
			case 0:
				e.outcome, e.credits = playground, 0
			case 1:
				e.outcome, e.credits = duplicate, 0
			case 2:
				e.outcome, e.credits, e.messages, e.channel = adjustment, -e.credits, -e.messages, ""
			}
			events = append(events, e)
		}
	}
	add("ws_many", 60, 6_000, 3_000_000)
	add("ws_few", 3, 1_500, 50_000_000)
	add("ws_huge", 12, 800, 9_000_000_000_000_000_000) // sums beyond 64 bits
	add("ws_other", 5, 500, 1_000_000)
	return events
}

// drawDirectory registers some agents and members, and deletes some again.
func drawDirectory(rng *rand.Rand, now time.Time) []registered {
	var all []registered
	for _, workspace := range []string{"ws_many", "ws_few", "ws_huge"} {
		for n := range 12 {
			id := fmt.Sprintf("agt_%d", n*2)
			from := now.Add(-time.Duration(rng.Int64N(int64(200 * day)))).Truncate(time.Microsecond)
			name := []string{"Bot", "bot", "Åse", "ase", "Éva", "ﬁx"}[rng.IntN(6)]
			all = append(all, agentNamed(workspace, id, name+" "+strconv.Itoa(n), from))
			if rng.IntN(3) == 0 {
				later := from.Add(time.Duration(rng.Int64N(int64(now.Sub(from)))))
				all = append(all, agentDeleted(workspace, id, later.Truncate(time.Microsecond)))
			}
		}
		for n := range 4 {
			from := now.Add(-time.Duration(rng.Int64N(int64(100 * day)))).Truncate(time.Microsecond)
			all = append(all, memberNamed(workspace, fmt.Sprintf("mem_%d", n), "Ada", from))
		}
	}
	return all
}

// asking is one random question.
type asking struct {
	workspace, agent, zone, grain, compare string
	preset                                 string
	from, to                               string
	start, end                             string
}

func (a asking) query() string {
	v := url.Values{"workspace": {a.workspace}}
	for name, value := range map[string]string{
		"agent": a.agent, "tz": a.zone, "grain": a.grain, "compare": a.compare, "range": a.preset,
		"from": a.from, "to": a.to, "start": a.start, "end": a.end,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v.Encode()
}

func drawAsking(rng *rand.Rand, now time.Time) asking {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	a := asking{
		workspace: pick("ws_many", "ws_few", "ws_huge", "ws_nobody"),
		agent:     pick("", "", "all", "agt_0", "agt_3", "agt_unknown"),
		zone:      pick(append(differentialZones, "")...),
		grain:     pick("", "auto", "minute", "hour", "day", "week", "month"),
		compare:   pick("", "none", "prev", "prev_dow", "yoy"),
	}
	switch rng.IntN(3) {
	case 0:
		a.preset = pick("", "period", "previous_period", "today", "yesterday", "7d", "30d", "90d", "mtd", "last_month")
	case 1:
		from := now.AddDate(0, 0, -rng.IntN(500))
		a.from = from.Format(time.DateOnly)
		a.to = from.AddDate(0, 0, rng.IntN([]int{1, 4, 40, 120, 450}[rng.IntN(5)])).Format(time.DateOnly)
	default:
		back := time.Duration(rng.Int64N(int64([]time.Duration{2 * day, 40 * day, 600 * day}[rng.IntN(3)])))
		start := now.Add(-back).Truncate([]time.Duration{time.Minute, 15 * time.Minute, time.Hour, day}[rng.IntN(4)])
		length := time.Duration(1 + rng.Int64N(int64([]time.Duration{2 * time.Hour, 3 * day, 60 * day}[rng.IntN(3)])))
		a.start, a.end = start.Format(time.RFC3339), start.Add(length).Truncate(time.Minute).Add(time.Minute).Format(time.RFC3339)
	}
	return a
}

// TestFiguresEqualTheEvents asks the service random questions over the real
// engine and answers them a second time from the list of events. Minutes beyond
// their retention are really gone, so that a plan that relied on them would
// show.
func TestFiguresEqualTheEvents(t *testing.T) {
	rng := seeded(t)
	now := time.Date(2026, 11, 24, 14, 32, 5, 118_000_000, time.UTC)
	w := newWorld(t)
	o := &oracle{events: drawEvents(rng, now), directory: drawDirectory(rng, now)}
	w.insert(t, o.events)
	w.register(t, o.directory...)
	w.exec(t, "ALTER TABLE usage_minute DELETE WHERE time < toDateTime({from:UInt32}, 'UTC') SETTINGS mutations_sync = 2",
		map[string]string{"from": fmt.Sprint(now.Add(-32 * day).Unix())})
	anchors := map[string]int{"ws_many": 31, "ws_few": 24, "ws_huge": 1, "ws_nobody": 1}
	zones := map[string]string{"ws_many": "Europe/Copenhagen", "ws_few": "Asia/Kolkata", "ws_huge": "UTC", "ws_nobody": "UTC"}
	w.describe(t, "ws_many", now.Add(-300*day), zones["ws_many"], "2026-01-31", "10", "5")
	w.describe(t, "ws_few", now.Add(-300*day), zones["ws_few"], "2026-01-24", unset, unset)
	through := now.Add(-1500 * time.Millisecond)
	w.progress(t, through)
	s := w.serve(t, now, DefaultConfig())

	answered := 0
	for n := range *questionsFlag {
		if n > 0 && n%1000 == 0 {
			t.Logf("%d of %d questions asked, %d answered and checked", n, *questionsFlag, answered)
		}
		a := drawAsking(rng, now)
		zoneName := a.zone
		if zoneName == "" {
			zoneName = zones[a.workspace]
		}
		zone, err := calendar.LoadZone(zoneName)
		if err != nil {
			t.Fatal(err)
		}
		var r oracleRange
		switch {
		case a.from != "":
			from, _ := time.Parse(time.DateOnly, a.from)
			to, _ := time.Parse(time.DateOnly, a.to)
			r = daysOf(from, to, zone)
		case a.start != "":
			r.start, _ = time.Parse(time.RFC3339, a.start)
			r.end, _ = time.Parse(time.RFC3339, a.end)
		default:
			r = presetRange(a.preset, now, zone, anchors[a.workspace])
		}
		grain := a.grain
		if grain == "" || grain == "auto" {
			grain = autoGrain(r.start, r.end, zone)
		}
		path := "/v1/usage/dashboard?" + a.query()
		tooMany := map[string]time.Duration{"minute": 400 * time.Minute, "hour": 400 * time.Hour}[grain]
		if tooMany == 0 {
			tooMany = 1 << 62
		}
		if length := r.end.Sub(r.start); length > tooMany+2*time.Hour {
			if response, body := s.get(t, path); response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "too_many_bars") {
				t.Fatalf("question %d, %s: %d %s; want too many bars", n, path, response.StatusCode, body)
			}
			continue
		}
		edges := edgesBetween(r.start, r.end, zone, grain)
		if len(edges)-1 > maxBars {
			continue
		}
		answered++
		d := ask[api.Dashboard](t, s, path)
		c := checker{t: t, o: o, a: a, n: n, path: path, now: now, through: through, zone: zone, r: r, grain: grain, edges: edges}
		c.check(d)
		if n%4 == 0 {
			_, body := s.get(t, "/v1/usage/export.csv?"+a.query())
			c.checkCSV(string(body), d)
		}
		if n%3 == 0 {
			c.checkPages(s, rng)
		}
		if n%3 == 1 && !r.end.After(r.start.In(zone).AddDate(0, 0, maxBreakdownDays)) {
			c.checkBreakdown(s, rng)
		}
		if n%8 == 0 {
			c.checkReconcile(ask[api.Reconciliation](t, s, "/v1/usage/reconcile?"+strings.ReplaceAll(strings.ReplaceAll(a.query(), "grain="+a.grain, ""), "compare="+a.compare, "")))
		}
		if t.Failed() {
			t.Fatalf("question %d: %s", n, path)
		}
	}
	t.Logf("%d of %d questions were answered and checked", answered, *questionsFlag)
	if answered < *questionsFlag/3 {
		t.Errorf("only %d of %d questions could be answered: the draw is off", answered, *questionsFlag)
	}
}

// checker holds one answer against the oracle.
type checker struct {
	t       *testing.T
	o       *oracle
	a       asking
	n       int
	path    string
	now     time.Time
	through time.Time
	zone    *time.Location
	r       oracleRange
	grain   string
	edges   []time.Time
}

func (c checker) equal(what string, got, want any) {
	c.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("question %d: %s is %v, want %v", c.n, what, got, want)
	}
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func (c checker) agent() string {
	if c.a.agent == "all" {
		return ""
	}
	return c.a.agent
}

func (c checker) check(d api.Dashboard) {
	c.t.Helper()
	agent := c.agent()
	events := c.o.between(c.a.workspace, c.r.start, c.r.end)
	total := sumOf(events, agent)

	c.equal("start", d.Range.Start, c.r.start)
	c.equal("end", d.Range.End, c.r.end)
	c.equal("grain", d.Range.Grain, c.grain)
	c.equal("timezone", d.Range.Timezone, c.zone)
	if c.r.from.IsZero() {
		c.equal("from", text(d.Range.From), "null")
	} else {
		c.equal("from", text(d.Range.From), c.r.from.Format(time.DateOnly))
		c.equal("to", text(d.Range.To), c.r.to.Format(time.DateOnly))
	}

	c.equal("credits", d.Summary.Credits, decimal(total.credits))
	c.equal("messages", d.Summary.Messages, total.messages)
	whole := sumOf(events, "")
	c.equal("the workspace's credits", d.WorkspaceTotal.Credits, decimal(whole.credits))
	c.equal("the workspace's messages", d.WorkspaceTotal.Messages, whole.messages)

	var compared []event
	var comparedEdges []time.Time
	start, end, hasBefore := time.Time{}, time.Time{}, false
	if c.a.compare != "" && c.a.compare != "none" {
		start, end, hasBefore = c.r.comparedWith(c.a.compare, c.now, c.zone)
	}
	if hasBefore {
		compared = c.o.between(c.a.workspace, start, end)
		comparedEdges = comparedBetween(c.edges, start, end, c.zone, c.grain, c.a.compare)
		before := sumOf(compared, agent)
		if d.Summary.Previous == nil {
			c.t.Fatalf("question %d: no comparison", c.n)
		}
		c.equal("the comparison's start", d.Summary.Previous.Start, start)
		c.equal("the comparison's end", d.Summary.Previous.End, end)
		c.equal("the comparison's credits", text(d.Summary.Previous.Credits), decimal(before.credits))
		c.equal("the comparison's messages", text(d.Summary.Previous.Messages), before.messages)
	} else if d.Summary.Previous != nil {
		c.t.Errorf("question %d: compared with %v", c.n, *d.Summary.Previous)
	}

	ids, sums := byAgent(events, agent)
	_, before := byAgent(compared, agent)
	c.checkSeries(d, events, ids, compared, comparedEdges)
	c.checkLeaderboard(d, events, ids, sums, before, hasBefore)

	asOf, seen := c.now, c.now.Add(1000*day)
	if !c.r.end.After(c.now) {
		asOf, seen = c.r.end, c.r.end
	}
	c.equal("as of", d.Summary.AsOf, asOf)
	c.equal("chatbots", d.Summary.Chatbots.Used, c.o.slots(c.a.workspace, agent, asOf, seen))
	c.equal("team members", d.Summary.TeamMembers.Used, len(c.o.there("directory_members", c.a.workspace, asOf)))
	limits := [2]string{"null", "null"}
	if c.a.workspace == "ws_many" && !asOf.Before(c.now.Add(-300*day)) {
		limits = [2]string{"10", "5"}
	}
	c.equal("slots", number(d.Summary.Chatbots.Available), limits[0])
	c.equal("seats", number(d.Summary.TeamMembers.Available), limits[1])

	tests := newSum()
	for _, e := range events {
		if e.outcome == playground && (agent == "" || e.agent == agent) {
			tests.add(e)
		}
	}
	c.equal("Playground messages", d.PlaygroundMessages, tests.messages)
	c.equal("recorded events", d.RecordedEvents, total.events+tests.events)
	var last time.Time
	for _, e := range c.o.events {
		if e.workspace == c.a.workspace && e.counts() && (agent == "" || e.agent == agent) && e.at.After(last) {
			last = e.at
		}
	}
	if last.IsZero() {
		c.equal("last usage", d.LastUsageAt, (*time.Time)(nil))
	} else {
		c.equal("last usage", d.LastUsageAt.Truncate(15*time.Minute), last.Truncate(15*time.Minute))
	}
	c.equal("counted through", d.Freshness.CountedThrough, c.through)
	c.equal("completeness", d.Completeness, api.Complete)
}

func number(n *int64) string {
	if n == nil {
		return "null"
	}
	return strconv.FormatInt(*n, 10)
}

func (c checker) state(start, end time.Time) api.BarState {
	switch {
	case !start.Before(c.now):
		return "future"
	case end.After(c.through):
		return "in_progress"
	case c.through.Sub(end) < 10*time.Minute:
		return "settling"
	default:
		return "final"
	}
}

func (c checker) checkSeries(d api.Dashboard, events []event, ids []string, compared []event, comparedEdges []time.Time) {
	c.t.Helper()
	if len(d.Series) != len(c.edges)-1 {
		c.t.Fatalf("question %d: %d bars, want %d", c.n, len(d.Series), len(c.edges)-1)
	}
	top := map[string]bool{}
	for _, id := range ids[:min(7, len(ids))] {
		top[id] = true
	}
	split := func(events []event, edges []time.Time) [][]event {
		bars := make([][]event, max(0, len(edges)-1))
		for _, e := range events {
			for i := range bars {
				if !e.at.Before(edges[i]) && e.at.Before(edges[i+1]) {
					bars[i] = append(bars[i], e)
				}
			}
		}
		return bars
	}
	bars, before := split(events, c.edges), split(compared, comparedEdges)
	for i, bar := range d.Series {
		name := fmt.Sprintf("bar %d ", i)
		c.equal(name+"start", bar.Start, c.edges[i])
		c.equal(name+"end", bar.End, c.edges[i+1])
		c.equal(name+"state", bar.State, c.state(c.edges[i], c.edges[i+1]))
		own := sumOf(bars[i], c.agent())
		c.equal(name+"credits", text(bar.Credits), decimal(own.credits))
		c.equal(name+"messages", text(bar.Messages), own.messages)
		if i < len(before) {
			then := sumOf(before[i], c.agent())
			if bar.Previous == nil {
				c.t.Fatalf("question %d: %s is compared with nothing", c.n, name)
			}
			c.equal(name+"previous start", bar.Previous.Start, comparedEdges[i])
			c.equal(name+"previous end", bar.Previous.End, comparedEdges[i+1])
			c.equal(name+"previous credits", text(bar.Previous.Credits), decimal(then.credits))
			c.equal(name+"previous messages", text(bar.Previous.Messages), then.messages)
		} else if bar.Previous != nil {
			c.t.Errorf("question %d: %s is compared with %v", c.n, name, *bar.Previous)
		}
		var want []string
		_, sums := byAgent(bars[i], c.agent())
		others, othersN := newSum(), 0
		for _, id := range ids {
			s := sums[id]
			switch {
			case s == nil:
			case top[id]:
				want = append(want, fmt.Sprint(id, " ", decimal(s.credits), " ", s.messages))
			default:
				others.credits.Add(others.credits, s.credits)
				others.messages += s.messages
				othersN++
			}
		}
		if othersN > 0 {
			want = append(want, fmt.Sprint("others ", othersN, " ", decimal(others.credits), " ", others.messages))
		}
		var got []string
		for _, a := range bar.Agents {
			if a.ID == nil {
				got = append(got, fmt.Sprint("others ", *a.Others, " ", a.Credits, " ", a.Messages))
			} else {
				got = append(got, fmt.Sprint(*a.ID, " ", a.Credits, " ", a.Messages))
			}
		}
		c.equal(name+"agents", got, want)
	}
}

func (c checker) checkLeaderboard(d api.Dashboard, events []event, ids []string, sums, before map[string]*sum, hasBefore bool) {
	c.t.Helper()
	c.equal("number of agents", d.AgentsTotal, len(ids))
	if len(d.Agents) != min(len(ids), 100) {
		c.t.Fatalf("question %d: %d agents, want %d", c.n, len(d.Agents), min(len(ids), 100))
	}
	positive := new(big.Int)
	for _, id := range ids {
		if sums[id].credits.Sign() > 0 {
			positive.Add(positive, sums[id].credits)
		}
	}
	shares := new(big.Rat)
	for i, row := range d.Agents {
		id := ids[i]
		c.equal("rank", row.ID, id)
		c.equal(id+" credits", row.Credits, decimal(sums[id].credits))
		c.equal(id+" messages", row.Messages, sums[id].messages)
		name, deleted := id, false
		for _, r := range c.o.directory {
			if r.table == "directory_agents" && r.workspace == c.a.workspace && r.id == id && r.name != "" {
				name = r.name
			}
		}
		if last, found := c.o.said("directory_agents", c.a.workspace, id, c.now); found {
			deleted = last.deleted
		}
		c.equal(id+" name", row.Name, name)
		c.equal(id+" deleted", row.Deleted, deleted)
		if hasBefore {
			then := before[id]
			if then == nil {
				then = newSum()
			}
			c.equal(id+" previous credits", text(row.PreviousCredits), decimal(then.credits))
			c.equal(id+" previous messages", text(row.PreviousMessages), then.messages)
		} else {
			c.equal(id+" previous credits", text(row.PreviousCredits), "null")
		}
		for n, credits := range row.Spark {
			own := newSum()
			for _, e := range events {
				if e.agent == id && e.counts() && !e.at.Before(c.edges[n]) && e.at.Before(c.edges[n+1]) {
					own.add(e)
				}
			}
			c.equal(fmt.Sprintf("%s spark %d", id, n), credits, decimal(own.credits))
			if n > 3 && n < len(row.Spark)-3 { // the ends suffice: the bars were checked one by one
				break
			}
		}
		share, ok := new(big.Rat).SetString(row.Share)
		if !ok {
			c.t.Fatalf("question %d: share %q", c.n, row.Share)
		}
		shares.Add(shares, share)
		if sums[id].credits.Sign() > 0 {
			exact := new(big.Rat).SetFrac(new(big.Int).Mul(sums[id].credits, big.NewInt(100)), positive)
			off := exact.Sub(exact, share)
			if off.Abs(off).Cmp(big.NewRat(1, 10)) >= 0 {
				c.t.Errorf("question %d: share of %s is %s, off by %s", c.n, id, row.Share, off.FloatString(3))
			}
		} else {
			c.equal(id+" share", row.Share, "0.0")
		}
	}
	if len(ids) > 0 && len(ids) <= 100 && positive.Sign() > 0 {
		c.equal("sum of shares", shares.FloatString(1), "100.0")
	}
}

func (c checker) checkCSV(body string, d api.Dashboard) {
	c.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		c.t.Fatalf("question %d: CSV: %v", c.n, err)
	}
	c.equal("CSV header", rows[0], exportColumns)
	total, messages := new(big.Rat), int64(0)
	bars := map[string]*big.Rat{}
	for _, row := range rows[1:] {
		credits, ok := new(big.Rat).SetString(row[4])
		if !ok {
			c.t.Fatalf("question %d: CSV credits %q", c.n, row[4])
		}
		total.Add(total, credits)
		if bars[row[0]] == nil {
			bars[row[0]] = new(big.Rat)
		}
		bars[row[0]].Add(bars[row[0]], credits)
		n, err := strconv.ParseInt(row[5], 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		messages += n
	}
	headline, _ := new(big.Rat).SetString(d.Summary.Credits)
	c.equal("CSV total", total.FloatString(6), headline.FloatString(6))
	c.equal("CSV messages", messages, d.Summary.Messages)
	c.equal("CSV bars", len(bars), len(d.Series))
	for _, bar := range d.Series {
		own, _ := new(big.Rat).SetString(*bar.Credits)
		if in := bars[bar.Start.Format(time.RFC3339)]; in == nil || in.Cmp(own) != 0 {
			c.t.Errorf("question %d: bar %s is %s in the CSV, want %s", c.n, bar.Start, in, *bar.Credits)
		}
	}
}

func (c checker) checkReconcile(got api.Reconciliation) {
	c.t.Helper()
	events := c.o.between(c.a.workspace, c.r.start, c.r.end)
	total := sumOf(events, c.agent())
	c.equal("exact", got.Exact, true)
	c.equal("ledger credits", got.Ledger.Credits, decimal(total.credits))
	c.equal("rollup credits", got.Rollups.Credits, decimal(total.credits))
	c.equal("rollup messages", got.Rollups.Messages, total.messages)
	c.equal("rollup events", got.Rollups.Events, total.events)
	c.equal("difference", got.Difference, api.LedgerTotals{Credits: "0", Messages: "0", Events: "0"})
	duplicates := 0
	for _, e := range events {
		if e.outcome == duplicate && (c.agent() == "" || e.agent == c.agent()) {
			duplicates++
		}
	}
	c.equal("duplicates", got.Outcomes.Duplicate, duplicates)
	for _, tier := range got.Tiers {
		within := sumOf(c.o.between(c.a.workspace, tier.Start, tier.End), c.agent())
		c.equal("exact "+string(tier.Tier), tier.Exact && tier.DifferingBuckets == "0", true)
		if tier.Tier != "playground" {
			c.equal("ledger beside "+string(tier.Tier), tier.Ledger.Credits, decimal(within.credits))
			c.equal("messages of "+string(tier.Tier), tier.Rollup.Messages, within.messages)
		}
	}
}
