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
)

// reading is how a question is answered, and what of the answer is known so far. What
// decides whether anything of it has changed is known before any figure is read.
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
	group.Go(func() error { return s.readBesideTotals(ctx, route, q, r, true) })
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

// figuresAlone reads the figures of a question without its Playground tests and
// without what surrounds them, from what is held where that can be.
func (s *Service) figuresAlone(ctx context.Context, route string, q question, st *standing) (*figures, error) {
	r := newReading(st, q, nil)
	if !r.held {
		return s.figuresOf(ctx, route, q, false)
	}
	f, _, err := s.heldFiguresOf(ctx, route, q, r)
	return f, err
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
