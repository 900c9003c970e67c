package query

import (
	"context"
	"time"
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
			b.add(usageByAgent, selection{spans: []span{{partComparison, c.edges}}, minutesFrom: q.minutesFrom(), who: who, byBar: true})
		} else {
			spans = []span{{partRange, c.edges}, spans[0]}
		}
	}
	b.add(usageByAgent, selection{spans: spans, minutesFrom: q.minutesFrom(), who: who, byBar: true})
	if withPlayground {
		whole := []time.Time{q.interval.Start, q.interval.End}
		b.add(playgroundTests, selection{spans: []span{{partPlayground, whole}}, who: whoNone, oneAgent: q.agent != ""})
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
	err := s.readRows(ctx, route, "usage", b, b.sql(), f.take)
	if err != nil {
		return nil, err
	}
	return f, f.rankAgents()
}
