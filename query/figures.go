package query

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

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

func (t tally) minus(other tally) tally {
	return tally{
		credits:  t.credits.Minus(other.credits),
		messages: t.messages - other.messages,
		events:   t.events - other.events,
	}
}

// count is a number of messages or events as answers carry it.
func count(n int64) string { return strconv.FormatInt(n, 10) }

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

// figures are the answer to a question. Everything in them is added up from the
// same rows, each of a bar and an agent.
type figures struct {
	bars         []tally // of the chosen agent, or of all
	previousBars []tally
	total        tally
	previous     tally
	workspace    tally         // of all agents, whichever is chosen
	playground   tally         // tests, of the chosen agent or of all, which count nowhere
	agents       []*agentUsage // those with usage in the range, the heaviest first, once they are ranked

	// While rows are taken: the bars by how statements name them, and the agents.
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
