package query

import (
	"context"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/schemas"
)

// reading is what every answer to a question begins with, and what alone decides
// whether anything of it has changed.
type reading struct {
	held    bool // the question is answered from what is held
	pieces  []piece
	history []time.Time // edges of the bars that say what is usual
	totals  *workspaceTotals
	// positions is how far the workspace's partitions were known to be counted
	// before anything was read; "" where that is not known.
	positions string

	// What is not in the totals, once it is known: Playground tests of the range,
	// when the last usage was, and what the chosen agent used before.
	playground *tally
	lastUsage  *time.Time
	ownHistory []tally

	// unsettled says that something that was read does not add up to the totals,
	// since a block is in one rollup and not in another, or has come after them. Soon
	// it will, and then the answer is another one.
	unsettled atomic.Bool
}

// piecesOfQuestion cuts all that a question asks about into pieces. ok is false
// for one that cannot be answered from what is held: it reaches beyond what the
// rollups can hold.
func piecesOfQuestion(q question, history []time.Time) (pieces []piece, ok bool) {
	spans := []span{{partRange, q.edges}}
	if q.comparison != nil {
		spans = append(spans, span{partComparison, q.comparison.edges})
	}
	if q.agent == "" {
		spans = append(spans, span{partHistory, history})
	}
	for _, span := range spans {
		own, ok := piecesOf(span.edges, span.part)
		if !ok {
			return nil, false
		}
		pieces = append(pieces, own...)
	}
	for _, p := range pieces {
		if p.unit.from < firstEdge || p.unit.to > lastEdge {
			return nil, false
		}
	}
	return pieces, true
}

// newReading says how a question is to be answered, with what was used between the
// edges of a history, which may be none.
func newReading(st *standing, q question, history []time.Time) *reading {
	r := &reading{history: history, totals: st.totals, positions: st.watermark.positions}
	if r.totals != nil {
		r.pieces, r.held = piecesOfQuestion(q, history)
	}
	return r
}

// figuresAndSurroundings reads a question's figures and what surrounds them. Where
// nothing is held, the agents that are seen are those with events before seenBefore, or
// with any, if that is zero.
func (s *Service) figuresAndSurroundings(ctx context.Context, route string, q question, r *reading, seenBefore time.Time) (f *figures, around *surroundings, err error) {
	group, ctx := errgroup.WithContext(ctx)
	if !r.held {
		group.Go(func() (err error) {
			f, err = s.figuresOf(ctx, route, q, true)
			return err
		})
		group.Go(func() (err error) {
			around, err = s.surroundingsOf(ctx, route, q, r.history, seenBefore)
			return err
		})
		err = group.Wait() // before what it waits for is returned
		return f, around, err
	}
	var usual []tally
	group.Go(func() (err error) {
		f, usual, err = s.heldFiguresOf(ctx, route, q, r)
		return err
	})
	around = &surroundings{}
	group.Go(func() (err error) {
		around.seen, err = s.heldSeen(ctx, route, q, r)
		return err
	})
	group.Go(func() error { return s.readBeside(ctx, route, q, r, true) })
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	f.playground.add(*r.playground)
	around.lastUsage, around.history = *r.lastUsage, usual
	if q.agent != "" {
		around.history = r.ownHistory
	}
	return f, around, nil
}

// heldFiguresOf puts a question's figures together from what is held and what it
// reads anew, and for all agents what was used in the bars of its history.
func (s *Service) heldFiguresOf(ctx context.Context, route string, q question, r *reading) (f *figures, usual []tally, err error) {
	f = newFigures(q)
	usual = make([]tally, max(0, len(r.history)-1))
	cells := map[unit][]heldCell{}
	missing := map[unit]tally{}
	now := time.Now()
	for _, p := range r.pieces {
		_, known := cells[p.unit]
		if _, lacking := missing[p.unit]; known || lacking || p.fromTotals() {
			continue
		}
		total := r.totals.between(p.unit.from, p.unit.to)
		if total.none() {
			// Nothing was recorded, so no agent has anything.
			cells[p.unit] = nil
		} else if held, ok := s.held.get(heldKey{workspace: q.workspace, unit: p.unit}, total, now); ok {
			cells[p.unit] = held
		} else {
			missing[p.unit] = total
		}
	}
	s.metrics.heldUnits.WithLabelValues("held").Add(float64(len(cells)))
	s.metrics.heldUnits.WithLabelValues("read").Add(float64(len(missing)))
	explanationFrom(ctx).bars(len(cells), len(missing))
	if len(missing) > 0 {
		read, err := s.readUnits(ctx, route, "usage", q, r.positions, missing)
		if err != nil {
			return nil, nil, err
		}
		for u, own := range read {
			if totalOf(own) != missing[u] {
				r.unsettled.Store(true)
			}
		}
		maps.Copy(cells, read)
	}
	for _, p := range r.pieces {
		if p.fromTotals() {
			usual[p.bar].add(r.totals.between(p.from, p.to))
			continue
		}
		for i := range cells[p.unit] {
			c := &cells[p.unit][i]
			if c.at < p.from || c.at >= p.to {
				continue
			}
			if p.of == partHistory {
				usual[p.bar].add(c.tally)
				continue
			}
			who := c.agent
			if q.agent != "" && who != q.agent {
				who = ""
			}
			f.add(p.bar, p.of == partComparison, who, c.tally)
		}
	}
	return f, usual, f.rankAgents()
}

func totalOf(cells []heldCell) (sum tally) {
	for i := range cells {
		sum.add(cells[i].tally)
	}
	return sum
}

// fromTotals reports whether a workspace's totals say all that is asked of the
// piece: whole hours, without agents.
func (p piece) fromTotals() bool {
	return p.of == partHistory && p.from == p.unit.from && p.to == p.unit.to
}

// usageOf reads the figures of a question without its Playground tests, from
// what is held where that can be.
func (s *Service) usageOf(ctx context.Context, route string, q question, st *standing) (*figures, error) {
	r := newReading(st, q, nil)
	if !r.held {
		return s.figuresOf(ctx, route, q, false)
	}
	f, _, err := s.heldFiguresOf(ctx, route, q, r)
	return f, err
}

// Steps of units that hold no usage of agents by hour but what surrounds it.
const (
	hoursUnit      = -1 - iota // a workspace's totals
	seenUnit                   // which agents had sent events
	lastUnit                   // when the last usage was
	historyUnit                // an agent's usage before
	playgroundUnit             // Playground tests by agent
)

// lastUsageMatters reports whether an answer is another one when the last usage
// is: where there is none in the range, as for one agent there may be none
// though there is for the workspace.
func (r *reading) lastUsageMatters(q question) bool {
	return q.agent != "" || r.totals.between(schemas.StepHour.Floor(q.interval.Start).Unix(), schemas.StepHour.Ceil(q.interval.End).Unix()).none()
}

// readBeside reads what is not in the totals: all of it, or what decides whether
// an answer has changed.
func (s *Service) readBeside(ctx context.Context, route string, q question, r *reading, all bool) error {
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

// readPlayground reads the Playground tests of a question's range.
func (s *Service) readPlayground(ctx context.Context, route string, q question, r *reading) error {
	var sum tally
	if r.totals.tests.none() {
		r.playground = &sum
		return nil
	}
	key := heldKey{workspace: q.workspace, unit: unit{q.interval.Start.Unix(), q.interval.End.Unix(), playgroundUnit, 0}}
	cells, err := s.heldCells(ctx, key, r.totals.tests, r.positions, false, func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, "")
		whole := []time.Time{q.interval.Start, q.interval.End}
		b.add(playgroundTests, []span{{partPlayground, whole}}, time.Time{}, whoEach, false, false)
		err = s.readRows(ctx, route, "playground", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
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

// heldCells returns what is held under a key for as long as a total, which was
// read before, has not changed, or reads it. What cannot be added up to that is
// unproven: it is held only as long as nothing more is known to have been counted,
// since it may have been read while a block was in one rollup and not in another.
func (s *Service) heldCells(ctx context.Context, key heldKey, total tally, positions string, unproven bool, read func(context.Context) ([]heldCell, error)) ([]heldCell, error) {
	held := s.held.find(key, time.Now())
	if held != nil && held.total == total && (!unproven || positions != "" && held.positions == positions) {
		return held.cells, nil
	}
	readAndHold := func(ctx context.Context) ([]heldCell, error) {
		now := time.Now()
		cells, err := read(ctx)
		if err == nil {
			s.held.put(&heldEntry{key: key, cells: cells, total: total, read: now, positions: positions})
		}
		return cells, err
	}
	if positions == "" {
		return readAndHold(ctx)
	}
	type flightKey struct {
		heldKey
		total     tally
		positions string
	}
	return share(ctx, &s.flights, flightKey{key, total, positions}, readAndHold)
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
	key := heldKey{workspace: q.workspace, unit: unit{firstEdge, before.Unix(), seenUnit, 0}}
	read := func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, "")
		b.add(usageByAgent, []span{{partSeen, []time.Time{time.Unix(firstEdge, 0).UTC(), before}}}, q.minutesFrom(), whoEach, false, false)
		byAgent := map[string]tally{} // several tiers may know an agent
		err = s.readRows(ctx, route, "seen", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
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
		key := heldKey{q.workspace, q.agent, unit{firstEdge, lastEdge, lastUnit, 0}}
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
	// The grain tells bars of one stretch apart.
	key := heldKey{q.workspace, q.agent + "\x00" + string(q.grain) + "\x00" + q.zone.String(), unit{first.Unix(), last.Unix(), historyUnit, 0}}
	total := r.totals.between(schemas.StepHour.Floor(first).Unix(), schemas.StepHour.Ceil(last).Unix())
	cells, err := s.heldCells(ctx, key, total, r.positions, true, func(ctx context.Context) (cells []heldCell, err error) {
		b := newBuilder(q.workspace, q.agent)
		b.add(usageByAgent, []span{{partHistory, r.history}}, q.minutesFrom(), whoNone, true, true)
		index := indexOf(r.history)
		err = s.readRows(ctx, route, "history", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
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

// hashInto adds to a hash all that the question's figures, and what surrounds
// them, depend on.
func (r *reading) hashInto(h hash.Hash, q question) {
	var b []byte
	add := func(t tally) {
		b = append(b, t.credits.String()...)
		b = append(b, ' ')
		b = binary.BigEndian.AppendUint64(b, uint64(t.messages))
		b = binary.BigEndian.AppendUint64(b, uint64(t.events))
	}
	edges := []int64{firstEdge}
	for _, p := range r.pieces {
		edges = append(edges, p.unit.from, p.unit.to)
	}
	if q.interval.End.After(q.now) {
		edges = append(edges, lastEdge) // what occurs after the range tells who holds a slot while it is open
	}
	slices.Sort(edges)
	for _, edge := range slices.Compact(edges) {
		b = binary.BigEndian.AppendUint64(b, uint64(edge))
		add(r.totals.before(edge))
	}
	add(*r.playground)
	if r.lastUsageMatters(q) {
		b = binary.BigEndian.AppendUint64(b, uint64(r.lastUsage.Unix()))
	}
	for _, own := range r.ownHistory {
		add(own)
	}
	h.Write(b)
}
