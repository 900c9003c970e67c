package query

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

// question is what figures are asked for, resolved to instants.
type question struct {
	workspace  schemas.WorkspaceID
	agent      string // the chosen agent, or "" for all
	interval   schemas.Interval
	zone       *time.Location
	grain      calendar.Grain
	edges      []time.Time
	comparison *comparison // nil: none
	now        time.Time
}

// comparison is what a question's range is compared with.
type comparison struct {
	schemas.Interval
	edges []time.Time
}

// bars is how many bars the question has.
func (q question) bars() int { return len(q.edges) - 1 }

func (q question) bar(i int) schemas.Interval {
	return schemas.Interval{Start: q.edges[i], End: q.edges[i+1]}
}

// minutesFrom is how far back minutes are in their tier.
func (q question) minutesFrom() time.Time { return q.now.Add(-minuteRetention) }

// tally is a sum of usage.
type tally struct {
	credits  schemas.CreditsSum
	messages int64
	events   int64
}

func (t *tally) add(other tally) {
	t.credits = t.credits.Plus(other.credits)
	t.messages += other.messages
	t.events += other.events
}

// none reports that there was no usage. Usage that adjustments have brought
// back to zero is usage.
func (t tally) none() bool { return t.events == 0 && t.messages == 0 && t.credits.Sign() == 0 }

// barTally is the usage of one bar.
type barTally struct {
	bar int
	tally
}

// agentUsage is what one agent used.
type agentUsage struct {
	id       string
	total    tally
	previous tally
	bars     []barTally // in the order of the bars, those with usage alone
}

// figures are the answer to a question. Everything in them is added up from
// the rows of one statement.
type figures struct {
	bars         []tally // of the chosen agent, or of all
	previousBars []tally
	total        tally
	previous     tally
	workspace    tally // of all agents, whichever is chosen
	playground   tally // tests, of the chosen agent or of all, which count nowhere
	// agents with usage in the range, the heaviest first.
	agents []*agentUsage
	// edges of the bars as the statement names them
	index         barIndex
	previousIndex barIndex
	byID          map[string]*agentUsage
	tooMany       bool // agents
}

// barIndex finds bars by their start as Unix seconds.
type barIndex struct {
	starts []int64
	first  int // how many bars end before 1970 and have no usage
}

func indexOf(edges []time.Time) barIndex {
	var x barIndex
	for i, edge := range edges[:max(0, len(edges)-1)] {
		at := clampUnix(edge)
		if n := len(x.starts); n > 0 && x.starts[n-1] == at {
			x.starts = x.starts[:n-1]
			x.first = i
		}
		x.starts = append(x.starts, at)
	}
	return x
}

func (x barIndex) find(start uint32) (bar int, ok bool) {
	i, ok := slices.BinarySearch(x.starts, int64(start))
	return x.first + i, ok
}

// usageStatement asks for the figures of a question.
func usageStatement(q question, withPlayground bool) *builder {
	b := newBuilder(q.workspace, q.agent)
	who := whoEach
	if q.agent != "" {
		who = whoChosen
	}
	spans := []span{{partRange, q.edges}}
	if c := q.comparison; c != nil {
		compared := span{partComparison, c.edges}
		if c.End.After(q.interval.Start) {
			// More than a year, compared with the year before: the two overlap,
			// and one row cannot be of two bars.
			b.add(usageByAgent, []span{compared}, q.minutesFrom(), who, false, true)
		} else {
			spans = []span{compared, spans[0]}
			spans[0].part = partRange
		}
	}
	b.add(usageByAgent, spans, q.minutesFrom(), who, false, true)
	if withPlayground {
		b.addPlayground(q)
	}
	return b
}

// addPlayground asks for the Playground tests of a question's range.
func (b *builder) addPlayground(q question) {
	whole := []time.Time{q.interval.Start, q.interval.End}
	b.add(playgroundTests, []span{{partPlayground, whole}}, time.Time{}, whoNone, q.agent != "", false)
}

func newFigures(q question) *figures {
	f := &figures{
		bars:  make([]tally, q.bars()),
		index: indexOf(q.edges),
		byID:  map[string]*agentUsage{},
	}
	if q.comparison != nil {
		f.previousBars = make([]tally, max(0, len(q.comparison.edges)-1))
		f.previousIndex = indexOf(q.comparison.edges)
	}
	return f
}

// figuresOf reads the figures of a question, with the Playground tests if they
// are to be known.
func (s *Service) figuresOf(ctx context.Context, route string, q question, withPlayground bool) (*figures, error) {
	f := newFigures(q)
	b := usageStatement(q, withPlayground)
	if len(b.branches) == 0 {
		return f, nil // before 1970
	}
	err := s.readRows(ctx, route, "usage", b, render("usage", map[string]any{"Branches": b.branches}), f.take)
	if err != nil {
		return nil, err
	}
	return f, f.rankAgents()
}

// row is one line of a statement of branches. Its who is valid until the next.
type row struct {
	part part
	bar  uint32
	who  []byte
	tally
}

// timeTier begins to time a statement; what it returns ends that.
func (s *Service) timeTier(route string, b *builder) (end func()) {
	if len(b.tiers) == 0 {
		return func() {}
	}
	began := time.Now()
	return func() {
		s.metrics.tiers.WithLabelValues(route, tierName(b.finest)).Observe(time.Since(began).Seconds())
	}
}

// readRows runs a statement of branches.
func (s *Service) readRows(ctx context.Context, route, name string, b *builder, sql string, onRow func(row)) error {
	var (
		parts              proto.ColUInt8
		bars               proto.ColUInt32
		who                proto.ColStr
		spent              proto.ColInt128
		answered, recorded proto.ColInt64
	)
	for _, tier := range b.tiers {
		s.metrics.reads.WithLabelValues(tier).Inc()
	}
	if explanationFrom(ctx) != nil {
		ctx = explainReads(ctx, b.branches)
	}
	defer s.timeTier(route, b)()
	return s.read(ctx, route, name, sql, b.params, proto.Results{
		{Name: "part", Data: &parts},
		{Name: "bar", Data: &bars},
		{Name: "who", Data: &who},
		{Name: "spent", Data: &spent},
		{Name: "answered", Data: &answered},
		{Name: "recorded", Data: &recorded},
	}, func(rows int) {
		for i := range rows {
			onRow(row{
				part: part(parts[i]), bar: bars[i], who: who.RowBytes(i),
				tally: tally{
					credits:  creditsOf(spent[i]),
					messages: answered[i],
					events:   recorded[i],
				},
			})
		}
	})
}

// take adds one row of the usage statement.
func (f *figures) take(r row) {
	if r.part == partPlayground {
		f.playground.add(r.tally)
		return
	}
	bar, compared := 0, r.part == partComparison
	var ok bool
	if !compared {
		// In a merged branch the comparison's bars stand before the range's.
		if bar, ok = f.index.find(r.bar); !ok {
			compared = true
		}
	}
	if compared {
		if bar, ok = f.previousIndex.find(r.bar); !ok {
			return // no bar of the question's
		}
	}
	f.add(bar, compared, f.name(r.who), r.tally)
}

// name is an agent's id that stays valid.
func (f *figures) name(who []byte) string {
	if a := f.byID[string(who)]; a != nil {
		return a.id
	}
	return string(who)
}

// add adds what an agent used in a bar of the range, or of what it is compared
// with; nobody stands for the others where one agent is chosen.
func (f *figures) add(bar int, compared bool, who string, t tally) {
	if compared {
		if who == "" {
			return // they are compared with nothing
		}
		f.previousBars[bar].add(t)
		f.previous.add(t)
		f.agent(who).previous.add(t)
		return
	}
	f.workspace.add(t)
	if who == "" {
		return
	}
	f.bars[bar].add(t)
	f.total.add(t)
	a := f.agent(who)
	a.total.add(t)
	a.bars = append(a.bars, barTally{bar, t})
}

// maxAgents is how many agents a question may be about. The page and its API are
// for what people look at; beyond it is what somebody makes up.
const maxAgents = 200_000

func (f *figures) agent(id string) *agentUsage {
	a := f.byID[id]
	if a == nil && len(f.byID) >= maxAgents {
		f.tooMany = true
		return &agentUsage{}
	}
	if a == nil {
		a = &agentUsage{id: id}
		f.byID[id] = a
	}
	return a
}

// rankAgents puts the agents in order, once all rows are taken, and merges what several
// tiers said of a bar of theirs. It is an error where there are too many agents.
func (f *figures) rankAgents() error {
	if f.tooMany {
		return &httpapi.Problem{
			Status: http.StatusBadRequest, Code: "too_many_agents",
			Detail: fmt.Sprintf("More than %d agents used something in this time. Ask for one agent, or for less time.", maxAgents),
		}
	}
	for _, a := range f.byID {
		slices.SortFunc(a.bars, func(x, y barTally) int { return cmp.Compare(x.bar, y.bar) })
		merged := a.bars[:0]
		for _, own := range a.bars {
			if n := len(merged); n > 0 && merged[n-1].bar == own.bar {
				merged[n-1].add(own.tally)
			} else {
				merged = append(merged, own)
			}
		}
		a.bars = slices.DeleteFunc(merged, func(own barTally) bool { return own.none() })
		if len(a.bars) > 0 {
			f.agents = append(f.agents, a)
		}
	}
	slices.SortFunc(f.agents, heavierFirst)
	return nil
}

// heavierFirst is the leaderboard's order: by credits, then messages, then id.
func heavierFirst(a, b *agentUsage) int {
	return cmp.Or(
		b.total.credits.Cmp(a.total.credits),
		cmp.Compare(b.total.messages, a.total.messages),
		cmp.Compare(a.id, b.id),
	)
}

// surroundings are what an answer says beside the figures.
type surroundings struct {
	history   []tally         // by bar of the history's edges
	seen      map[string]bool // agents that had sent events
	lastUsage time.Time       // zero: none
}

// surroundingsOf reads what surrounds a question's figures. There may be no edges of a
// history. The agents that are seen are those with events before seenBefore, or with
// any, if that is zero.
func (s *Service) surroundingsOf(ctx context.Context, route string, q question, historyEdges []time.Time, seenBefore time.Time) (*surroundings, error) {
	b, sql := surroundingsStatement(q, historyEdges, seenBefore)
	out := &surroundings{history: make([]tally, max(0, len(historyEdges)-1)), seen: map[string]bool{}}
	index := indexOf(historyEdges)
	err := s.readRows(ctx, route, "context", b, sql, func(r row) {
		switch r.part {
		case partHistory:
			if bar, ok := index.find(r.bar); ok {
				out.history[bar].add(r.tally)
			}
		case partSeen:
			if r.events != 0 {
				out.seen[string(r.who)] = true
			}
		case partLast:
			out.lastUsage = time.Unix(int64(r.bar), 0).UTC()
		default:
		}
	})
	return out, err
}

func surroundingsStatement(q question, historyEdges []time.Time, seenBefore time.Time) (*builder, string) {
	b := newBuilder(q.workspace, q.agent)
	oneAgent := q.agent != ""
	kept := usageByWorkspace
	if oneAgent {
		kept = usageByAgent
	}
	if len(historyEdges) > 0 {
		b.add(kept, []span{{partHistory, historyEdges}}, q.minutesFrom(), whoNone, oneAgent, true)
	}
	if seenBefore.IsZero() {
		seenBefore = schemas.MaxOccurredAt
	}
	b.add(usageByAgent, []span{{partSeen, []time.Time{schemas.MinOccurredAt, seenBefore}}}, q.minutesFrom(), whoEach, oneAgent, false)
	return b, contextStatement(b, q)
}

// contextStatement adds the last usage to what the builder has.
func contextStatement(b *builder, q question) string {
	return render("context", map[string]any{
		"Branches": b.branches, "LastPart": partLast, "OneAgent": q.agent != "",
		"LastTable": usageByAgent.tables[schemas.StepQuarter], "DayTable": usageByAgent.tables[schemas.StepDay],
	})
}
