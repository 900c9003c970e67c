package query

import (
	"context"
	"time"

	"agentmeter/schemas"
)

// usageStatement asks for the figures of a question.
func usageStatement(q question, withPlayground bool) *builder {
	b := newBuilder(q.workspace, q.agent)
	who := whoEach
	if q.agent != "" {
		who = whoChosen
	}
	spans := []span{{partRange, q.edges}}
	if c := q.comparison; c != nil {
		if c.End.After(q.interval.Start) {
			// More than a year, compared with the year before: the two overlap,
			// and one row cannot be of two bars.
			b.add(usageByAgent, []span{{partComparison, c.edges}}, q.minutesFrom(), who, false, true)
		} else {
			spans = []span{{partRange, c.edges}, spans[0]}
		}
	}
	b.add(usageByAgent, spans, q.minutesFrom(), who, false, true)
	if withPlayground {
		whole := []time.Time{q.interval.Start, q.interval.End}
		b.add(playgroundTests, []span{{partPlayground, whole}}, time.Time{}, whoNone, q.agent != "", false)
	}
	return b
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
