package query

import (
	"cmp"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

var agentSorts = []string{"", "credits", "messages", "name", "credits_per_message", "change"}

// unmarked takes the marks off the letters that the drawn names have, the
// oracle's way of not caring about them.
var unmarked = strings.NewReplacer("Å", "A", "å", "a", "É", "E", "é", "e", "ﬁ", "fi")

// standing is what an agent's place in a leaderboard rests on.
type oracleStanding struct {
	id, name string
	sum      *sum
	before   *big.Int // credits of the compared interval
}

// value is what a leaderboard sorts an agent by. A quotient of nothing by
// nothing is less than any (class -1), and of something by nothing more (1), in
// the order of the numerators.
func (o oracleStanding) value(sort string) (class int, number *big.Rat, text string) {
	quotient := func(numerator, denominator *big.Int) (int, *big.Rat, string) {
		switch {
		case denominator.Sign() > 0:
			return 0, new(big.Rat).SetFrac(numerator, denominator), ""
		case numerator.Sign() > 0:
			return 1, new(big.Rat).SetInt(numerator), ""
		default:
			return -1, new(big.Rat).SetInt(numerator), ""
		}
	}
	switch sort {
	case "messages":
		return 0, new(big.Rat).SetInt64(o.sum.messages), ""
	case "name":
		return 0, new(big.Rat), strings.ToLower(unmarked.Replace(o.name))
	case "credits_per_message":
		return quotient(o.sum.credits, big.NewInt(o.sum.messages))
	case "change":
		return quotient(new(big.Int).Sub(o.sum.credits, o.before), o.before)
	default:
		return 0, new(big.Rat).SetInt(o.sum.credits), ""
	}
}

// compare orders two agents; those that are equal in what is sorted by stand by
// credits, messages and id, in either direction.
func (o oracleStanding) compare(other oracleStanding, sort, order string) int {
	class, number, text := o.value(sort)
	otherClass, otherNumber, otherText := other.value(sort)
	by := cmp.Or(cmp.Compare(class, otherClass), number.Cmp(otherNumber), strings.Compare(text, otherText))
	if order == "desc" || order == "" && sort != "name" {
		by = -by
	}
	return cmp.Or(by, other.sum.credits.Cmp(o.sum.credits), cmp.Compare(other.sum.messages, o.sum.messages), strings.Compare(o.id, other.id))
}

// nameOf is what an agent was last called, or its id.
func (o *oracle) nameOf(workspace, id string) string {
	name := id
	for _, r := range o.directory {
		if r.table == "directory_agents" && r.workspace == workspace && r.id == id && r.name != "" {
			name = r.name
		}
	}
	return name
}

// leaderboard lists every agent with usage among events, in an order. The
// events of the compared interval are none where there is no comparison.
func (o *oracle) leaderboard(workspace, agent string, events, compared []event, sort, order string) []oracleStanding {
	ids, sums := byAgent(events, agent)
	_, before := byAgent(compared, agent)
	all := make([]oracleStanding, 0, len(ids))
	for _, id := range ids {
		s := oracleStanding{id: id, name: o.nameOf(workspace, id), sum: sums[id], before: new(big.Int)}
		if then := before[id]; then != nil {
			s.before = then.credits
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b oracleStanding) int { return a.compare(b, sort, order) })
	return all
}

// checkPages follows a leaderboard's pages to their end and holds them against
// the oracle's order.
func (c checker) checkPages(s *service, rng *rand.Rand) {
	c.t.Helper()
	sort := agentSorts[rng.IntN(len(agentSorts))]
	order := []string{"", "asc", "desc"}[rng.IntN(3)]
	limit := []int{0, 2, 7, 30, 100}[rng.IntN(5)]
	events := c.o.between(c.a.workspace, c.r.start, c.r.end)
	var compared []event
	if c.a.compare != "" && c.a.compare != "none" {
		if start, end, ok := c.r.comparedWith(c.a.compare, c.now, c.zone); ok {
			compared = c.o.between(c.a.workspace, start, end)
		}
	}
	want := c.o.leaderboard(c.a.workspace, c.agent(), events, compared, sort, order)
	positive := new(big.Int)
	for _, w := range want {
		if w.sum.credits.Sign() > 0 {
			positive.Add(positive, w.sum.credits)
		}
	}
	path := leaderboardPath(c.a.query(), sort, order, limit)
	name := fmt.Sprintf("leaderboard by %q %q, %d a page: ", sort, order, limit)
	if limit == 0 {
		limit = defaultLimit
	}
	shares, at, cursor := new(big.Rat), 0, ""
	for {
		page := ask[api.UsageAgentsPage](c.t, s, path+cursor)
		c.equal(name+"agents in all", page.AgentsTotal, len(want))
		c.equal(name+"rows of a page", len(page.Agents), min(limit, len(want)-at))
		if c.t.Failed() {
			return
		}
		for _, row := range page.Agents {
			w := want[at]
			c.equal(fmt.Sprint(name, "rank ", at), row.ID, w.id)
			c.equal(name+w.id+" name", row.Name, w.name)
			c.equal(name+w.id+" credits", row.Credits, decimal(w.sum.credits))
			c.equal(name+w.id+" messages", row.Messages, w.sum.messages)
			c.checkShare(name+w.id, row.Share, w.sum.credits, positive)
			shares.Add(shares, rat(c.t, row.Share))
			at++
		}
		if page.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *page.NextCursor
	}
	c.equal(name+"rows of all pages", at, len(want))
	c.checkShares(name, shares, positive)
}

func leaderboardPath(query, sort, order string, limit int) string {
	path := "/v1/usage/agents?" + query
	if sort != "" {
		path += "&sort=" + sort
	}
	if order != "" {
		path += "&order=" + order
	}
	if limit != 0 {
		path += "&limit=" + strconv.Itoa(limit)
	}
	return path
}

// checkShare holds a share against an amount and the sum of those above zero.
func (c checker) checkShare(what, share string, amount, positive *big.Int) {
	c.t.Helper()
	if amount.Sign() <= 0 {
		c.equal(what+" share", share, "0.0")
		return
	}
	exact := new(big.Rat).SetFrac(new(big.Int).Mul(amount, big.NewInt(100)), positive)
	off := exact.Sub(exact, rat(c.t, share))
	if off.Abs(off).Cmp(big.NewRat(1, 10)) >= 0 {
		c.t.Errorf("question %d: %s share is %s, off by %s", c.n, what, share, off.FloatString(3))
	}
}

func (c checker) checkShares(what string, shares *big.Rat, positive *big.Int) {
	c.t.Helper()
	want := "0.0"
	if positive.Sign() > 0 {
		want = "100.0"
	}
	c.equal(what+"sum of shares", shares.FloatString(1), want)
}

func rat(t testing.TB, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no decimal", text)
	}
	return r
}

// checkBreakdown holds what is behind a range against the oracle.
func (c checker) checkBreakdown(s *service, rng *rand.Rand) {
	c.t.Helper()
	by := []string{"channel", "model", "conversation"}[rng.IntN(3)]
	name := "breakdown by " + by + ": "
	keyOf := map[string]func(e event) string{
		"channel":      func(e event) string { return e.channel },
		"model":        func(e event) string { return e.model },
		"conversation": func(e event) string { return e.conversation },
	}[by]
	sums, total := map[string]*sum{}, newSum()
	for _, e := range c.o.between(c.a.workspace, c.r.start, c.r.end) {
		if !e.counts() || c.agent() != "" && e.agent != c.agent() {
			continue
		}
		if sums[keyOf(e)] == nil {
			sums[keyOf(e)] = newSum()
		}
		sums[keyOf(e)].add(e)
		total.add(e)
	}
	keys := make([]string, 0, len(sums))
	for key := range sums {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		x, y := sums[a], sums[b]
		return cmp.Or(y.credits.Cmp(x.credits), cmp.Compare(y.messages, x.messages), strings.Compare(a, b))
	})
	listed := keys[:min(50, len(keys))]
	rest := newSum()
	for _, key := range keys[len(listed):] {
		rest.credits.Add(rest.credits, sums[key].credits)
		rest.messages += sums[key].messages
	}
	positive := new(big.Int)
	for _, key := range listed {
		if sums[key].credits.Sign() > 0 {
			positive.Add(positive, sums[key].credits)
		}
	}
	if rest.credits.Sign() > 0 {
		positive.Add(positive, rest.credits)
	}

	got := ask[api.Breakdown](c.t, s, "/v1/usage/breakdown?"+c.a.query()+"&by="+by)
	c.equal(name+"by", got.By, by)
	c.equal(name+"start", got.Range.Start, c.r.start)
	c.equal(name+"end", got.Range.End, c.r.end)
	c.equal(name+"total credits", got.Total.Credits, decimal(total.credits))
	c.equal(name+"total messages", got.Total.Messages, total.messages)
	c.equal(name+"items", len(got.Items), len(listed))
	if c.t.Failed() {
		return
	}
	shares := new(big.Rat)
	for i, item := range got.Items {
		want := sums[listed[i]]
		c.equal(fmt.Sprint(name, "rank ", i), item.Key, listed[i])
		c.equal(name+item.Key+" credits", item.Credits, decimal(want.credits))
		c.equal(name+item.Key+" messages", item.Messages, want.messages)
		c.checkShare(name+item.Key, item.Share, want.credits, positive)
		shares.Add(shares, rat(c.t, item.Share))
	}
	c.equal(name+"keys of the rest", got.Rest.Count, len(keys)-len(listed))
	c.equal(name+"credits of the rest", got.Rest.Credits, decimal(rest.credits))
	c.equal(name+"messages of the rest", got.Rest.Messages, rest.messages)
	c.checkShare(name+"rest", got.Rest.Share, rest.credits, positive)
	c.checkShares(name, shares.Add(shares, rat(c.t, got.Rest.Share)), positive)
}

// TestPagesGoOnWhereTheyWereWhileMoreIsCounted counts more and renames agents
// between a leaderboard's pages. Each page begins with the first agent that comes
// after the last row as that was, so that an agent of which nothing changes is
// listed exactly once.
func TestPagesGoOnWhereTheyWereWhileMoreIsCounted(t *testing.T) {
	const limit = 6
	agents := slowtest.Number(16, 40)
	rng := seeded(t)
	now := frozen
	w := newWorld(t)
	o := &oracle{}
	spend := func(n int) (changed map[string]bool) {
		changed = map[string]bool{}
		events := make([]event, n)
		for i := range events {
			events[i] = event{
				workspace: "ws", agent: fmt.Sprintf("agt_%d", rng.IntN(agents+5)), outcome: counted, channel: "api",
				at:      now.Add(-time.Duration(rng.Int64N(int64(13 * day)))).Truncate(time.Microsecond),
				credits: schemas.Credits(rng.Int64N(4)) * schemas.MicroPerCredit, messages: rng.Int64N(3), // equal ones among them
			}
			if rng.IntN(4) == 0 {
				events[i].outcome, events[i].credits, events[i].messages = adjustment, -events[i].credits, -events[i].messages
			}
			changed[events[i].agent] = true
		}
		o.events = append(o.events, events...)
		w.insert(t, events)
		w.progress(t, now.Add(-time.Second))
		return changed
	}
	rename := func() string {
		id := fmt.Sprintf("agt_%d", rng.IntN(agents))
		r := agentNamed("ws", id, fmt.Sprintf("%s %d", []string{"bot", "Bot", "Éva", "eva", "Åse", "ﬁx"}[rng.IntN(6)], rng.IntN(30)), now.Add(-time.Hour))
		o.directory = append(o.directory, r)
		w.register(t, r)
		return id
	}
	spend(3 * agents)
	for range agents / 2 {
		rename()
	}
	s := w.serve(t, now, DefaultConfig())
	today := todayIn(now, time.UTC)
	r := daysOf(today.AddDate(0, 0, -6), today, time.UTC)
	before, beforeEnd, _ := r.comparedWith("prev", now, time.UTC)

	for _, sort := range agentSorts {
		order := []string{"", "asc", "desc"}[rng.IntN(3)]
		path := leaderboardPath(url.Values{"workspace": {"ws"}, "range": {"7d"}, "compare": {"prev"}}.Encode(), sort, order, limit)
		board := func() []oracleStanding {
			return o.leaderboard("ws", "", o.between("ws", r.start, r.end), o.between("ws", before, beforeEnd), sort, order)
		}
		first := board()
		changed, listed := map[string]bool{}, map[string]int{}
		var last *oracleStanding
		for cursor := ""; ; {
			want := board()
			if last != nil {
				want = slices.DeleteFunc(want, func(s oracleStanding) bool { return s.compare(*last, sort, order) <= 0 })
			}
			page := ask[api.UsageAgentsPage](t, s, path+cursor)
			var got, ids []string
			for _, row := range page.Agents {
				got = append(got, fmt.Sprint(row.ID, " ", row.Credits, " ", row.Messages))
				listed[row.ID]++
			}
			for _, s := range want[:min(limit, len(want))] {
				ids = append(ids, fmt.Sprint(s.id, " ", decimal(s.sum.credits), " ", s.sum.messages))
			}
			if !slices.Equal(got, ids) {
				t.Fatalf("sort %q %q after %+v: page is\n%v, want\n%v", sort, order, last, got, ids)
			}
			if (page.NextCursor == nil) != (len(want) <= limit) {
				t.Fatalf("sort %q %q: %d agents are left, and the next cursor is %s", sort, order, len(want), text(page.NextCursor))
			}
			if page.NextCursor == nil {
				break
			}
			last, cursor = &want[limit-1], "&cursor="+*page.NextCursor
			for id := range spend(3) {
				changed[id] = true
			}
			changed[rename()] = true
		}
		for _, s := range first {
			if !changed[s.id] && listed[s.id] != 1 {
				t.Errorf("sort %q %q: nothing of %s changed, and it is listed %d times", sort, order, s.id, listed[s.id])
			}
		}
	}
}

// TestNamesOfAnyLengthHaveANextPage follows pages whose cursors carry the longest
// names and ids that there can be, of characters that take most room.
func TestNamesOfAnyLengthHaveANextPage(t *testing.T) {
	w := newWorld(t)
	const agents = 3
	want := make([]string, 0, agents)
	for i := range agents {
		id := strings.Repeat("<", schemas.MaxIDRunes-1) + strconv.Itoa(i)
		want = append(want, id)
		w.insert(t, []event{{workspace: "ws", agent: id, at: frozen.Add(-time.Hour), credits: schemas.Credits(9 - i), outcome: counted}})
		w.register(t, agentNamed("ws", id, strings.Repeat([]string{"<", "\U0001F99C", "\u2028"}[i], schemas.MaxTextRunes-1)+"x", frozen.Add(-time.Hour)))
	}
	w.progress(t, frozen.Add(-time.Second))
	s := w.serve(t, frozen, DefaultConfig())
	follow := func(path string, read func(path string) (id string, next *string)) {
		t.Helper()
		var ids []string
		for cursor := ""; ; {
			id, next := read(path + cursor)
			ids = append(ids, id)
			if next == nil {
				break
			}
			cursor = "&cursor=" + *next
		}
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %q, want %q", path, ids, want)
		}
	}
	for _, sort := range agentSorts {
		follow(leaderboardPath("workspace=ws&range=7d", sort, "", 1), func(path string) (string, *string) {
			page := ask[api.UsageAgentsPage](t, s, path)
			return page.Agents[0].ID, page.NextCursor
		})
	}
	follow("/v1/agents?workspace=ws&limit=1", func(path string) (string, *string) {
		page := ask[api.AgentChoices](t, s, path)
		return page.Agents[0].ID, page.NextCursor
	})
}
