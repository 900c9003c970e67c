package query

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/schemas"
)

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
		b.add(kept, selection{spans: []span{{partHistory, historyEdges}}, minutesFrom: q.minutesFrom(), who: whoNone, oneAgent: oneAgent, byBar: true})
	}
	if seenBefore.IsZero() {
		seenBefore = schemas.MaxOccurredAt
	}
	ever := []time.Time{schemas.MinOccurredAt, seenBefore}
	b.add(usageByAgent, selection{spans: []span{{partSeen, ever}}, minutesFrom: q.minutesFrom(), who: whoEach, oneAgent: oneAgent})
	return b, contextStatement(b, q)
}

// contextStatement adds the last usage to what the builder has.
func contextStatement(b *builder, q question) string {
	return render("context", map[string]any{
		"Branches": b.branches, "LastPart": partLast, "OneAgent": q.agent != "",
		"LastTable": usageByAgent.tables[schemas.StepQuarter], "DayTable": usageByAgent.tables[schemas.StepDay],
	})
}

// readBesideTotals reads what is not in the totals: all of it, or what decides whether
// an answer has changed.
func (s *Service) readBesideTotals(ctx context.Context, route string, q question, r *reading, all bool) error {
	group, ctx := errgroup.WithContext(ctx)
	if r.playground == nil {
		group.Go(func() error { return s.readPlayground(ctx, route, q, r) })
	}
	if r.lastUsage == nil && (all || r.lastUsageMatters(q)) {
		group.Go(func() error {
			last, err := s.heldLastUsage(ctx, route, q, r)
			r.lastUsage = &last
			return err
		})
	}
	if r.ownHistory == nil && q.agent != "" {
		group.Go(func() (err error) {
			r.ownHistory, err = s.heldHistory(ctx, route, q, r)
			return err
		})
	}
	return group.Wait()
}

// lastUsageMatters reports whether an answer is another one when the last usage
// is: where there is none in the range, as for one agent there may be none
// though there is for the workspace.
func (r *reading) lastUsageMatters(q question) bool {
	return q.agent != "" || r.totals.between(schemas.StepHour.Floor(q.interval.Start).Unix(), schemas.StepHour.Ceil(q.interval.End).Unix()).none()
}

// readPlayground reads the Playground tests of a question's range.
func (s *Service) readPlayground(ctx context.Context, route string, q question, r *reading) error {
	var sum tally
	if r.totals.tests.none() {
		r.playground = &sum
		return nil
	}
	key := heldKey{workspace: q.workspace, kind: playgroundKind, unit: unit{from: q.interval.Start.Unix(), to: q.interval.End.Unix()}}
	cells, err := s.heldCells(ctx, key, r.totals.tests, r.positions, false, func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, "")
		whole := []time.Time{q.interval.Start, q.interval.End}
		b.add(playgroundTests, selection{spans: []span{{partPlayground, whole}}, who: whoEach})
		err = s.readRows(ctx, route, "playground", b, b.sql(), func(r row) {
			cells = append(cells, heldCell{agent: string(r.who), tally: r.tally})
		})
		return cells, err
	})
	if err != nil {
		return err
	}
	for _, c := range cells {
		if q.agent == "" || c.agent == q.agent {
			sum.add(c.tally)
		}
	}
	r.playground = &sum
	return nil
}

// heldSeen are the agents that had sent events as of the end of a question's
// range, or ever while that is open, but for those that the figures know.
func (s *Service) heldSeen(ctx context.Context, route string, q question, r *reading) (map[string]bool, error) {
	end := q.interval.End
	open := end.After(q.now)
	if open && !r.totals.between(schemas.StepHour.Floor(end).Unix(), lastEdge).none() {
		return s.seenBefore(ctx, route, q, time.Unix(lastEdge, 0).UTC(), r)
	}
	// Those between the range's start and the next whole day are in the figures.
	for _, step := range []schemas.Step{schemas.StepDay, schemas.StepHour} {
		if before := step.Ceil(q.interval.Start); !before.After(end) {
			return s.seenBefore(ctx, route, q, before, r)
		}
	}
	return s.seenBefore(ctx, route, q, q.interval.Start, r)
}

// seenBefore are the agents that had sent events which occurred before.
func (s *Service) seenBefore(ctx context.Context, route string, q question, before time.Time, r *reading) (map[string]bool, error) {
	total := r.totals.before(schemas.StepHour.Ceil(before).Unix())
	seen := map[string]bool{}
	if total.none() {
		return seen, nil
	}
	key := heldKey{workspace: q.workspace, kind: seenKind, unit: unit{from: firstEdge, to: before.Unix()}}
	read := func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, "")
		ever := []time.Time{time.Unix(firstEdge, 0).UTC(), before}
		b.add(usageByAgent, selection{spans: []span{{partSeen, ever}}, minutesFrom: q.minutesFrom(), who: whoEach})
		byAgent := map[string]tally{} // several tiers may know an agent
		err = s.readRows(ctx, route, "seen", b, b.sql(), func(r row) {
			sum := byAgent[string(r.who)]
			sum.add(r.tally)
			byAgent[string(r.who)] = sum
		})
		for agent, sum := range byAgent {
			cells = append(cells, heldCell{agent: agent, tally: sum})
		}
		return cells, err
	}
	cells, err := s.heldCells(ctx, key, total, r.positions, false, read)
	if err == nil && totalOf(cells) != total {
		// It does not add up; within an hour it cannot. It is for this answer alone.
		r.unsettled.Store(true)
		s.held.drop(key)
	}
	for _, c := range cells {
		if c.events != 0 {
			seen[c.agent] = true
		}
	}
	return seen, err
}

// heldLastUsage is when the workspace, or the chosen agent, was last used, to the
// quarter of an hour.
func (s *Service) heldLastUsage(ctx context.Context, route string, q question, r *reading) (last time.Time, err error) {
	total := r.totals.before(lastEdge)
	if total.none() {
		return time.Time{}, nil
	}
	var cells []heldCell
	if q.agent == "" {
		cells, err = s.heldLastHour(ctx, route, q, r)
	} else {
		key := heldKey{workspace: q.workspace, agent: q.agent, kind: lastKind, unit: unit{from: firstEdge, to: lastEdge}}
		cells, err = s.heldCells(ctx, key, total, r.positions, true, func(ctx context.Context) (cells []heldCell, err error) {
			b := newBuilder(q.workspace, q.agent)
			err = s.readRows(ctx, route, "last", b, contextStatement(b, q), func(r row) {
				cells = append(cells, heldCell{at: int64(r.bar), tally: tally{events: 1}})
			})
			return cells, err
		})
	}
	for _, c := range cells {
		if at := time.Unix(c.at, 0).UTC(); c.events > 0 && at.After(last) {
			last = at
		}
	}
	return last, err
}

// heldLastHour is what was used in the last hour that there is, by quarter.
func (s *Service) heldLastHour(ctx context.Context, route string, q question, r *reading) ([]heldCell, error) {
	from := r.totals.lastHour()
	own := unit{from: from, to: from + hour, step: quarter}
	total := r.totals.between(own.from, own.to)
	if cells, ok := s.held.get(heldKey{workspace: q.workspace, unit: own}, total, time.Now()); ok {
		return cells, nil
	}
	read, err := s.readUnits(ctx, route, "last", q, r.positions, map[unit]tally{own: total})
	if err == nil && totalOf(read[own]) != total {
		r.unsettled.Store(true)
	}
	return read[own], err
}

// heldHistory is what the chosen agent used in the bars of the history.
func (s *Service) heldHistory(ctx context.Context, route string, q question, r *reading) ([]tally, error) {
	history := make([]tally, max(0, len(r.history)-1))
	if len(history) == 0 {
		return history, nil
	}
	first, last := r.history[0], r.history[len(history)]
	key := heldKey{
		workspace: q.workspace, agent: q.agent + "\x00" + string(q.grain) + "\x00" + q.zone.String(), // which bars they are
		kind: historyKind, unit: unit{from: first.Unix(), to: last.Unix()},
	}
	total := r.totals.between(schemas.StepHour.Floor(first).Unix(), schemas.StepHour.Ceil(last).Unix())
	cells, err := s.heldCells(ctx, key, total, r.positions, true, func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, q.agent)
		b.add(usageByAgent, selection{spans: []span{{partHistory, r.history}}, minutesFrom: q.minutesFrom(), who: whoNone, oneAgent: true, byBar: true})
		index := indexOf(r.history)
		err = s.readRows(ctx, route, "history", b, b.sql(), func(r row) {
			if bar, ok := index.find(r.bar); ok {
				cells = append(cells, heldCell{at: int64(bar), tally: r.tally})
			}
		})
		return cells, err
	})
	for _, c := range cells {
		history[c.at].add(c.tally)
	}
	return history, err
}
