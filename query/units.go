package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/schemas"
)

// unit is a stretch of whole hours, from and to in Unix seconds. An hour that the
// edge of a bar cuts has several cells: with a step one for every so many
// seconds, or with an edge one before and one after so many seconds.
type unit struct {
	from, to, step, edge int64
}

// after is the edge of the unit's cells that follows another.
func (u unit) after(edge int64) int64 {
	switch {
	case u.step > 0:
		return min(edge+u.step, u.to)
	case edge < u.from+u.edge:
		return u.from + u.edge
	default:
		return u.to
	}
}

// What units are made of, in seconds.
var (
	hour    = seconds(schemas.StepHour)
	quarter = seconds(schemas.StepQuarter)
	minute  = seconds(schemas.StepMinute)
)

// piece is the part of a bar that one unit answers: its cells from from to to.
type piece struct {
	unit
	from, to int64
	bar      int
	of       part
}

// fromTotals reports whether a workspace's totals say all that is asked of the
// piece: whole hours, without agents.
func (p piece) fromTotals() bool {
	return p.of == partHistory && p.from == p.unit.from && p.to == p.unit.to
}

// piecesOf cuts bars into pieces. ok is false for edges that no rollup has, such
// as those before 1970.
func piecesOf(edges []time.Time, of part) (pieces []piece, ok bool) {
	for i := range max(0, len(edges)-1) {
		from, to := edges[i].Unix(), edges[i+1].Unix()
		if from < 0 || to != clampUnix(edges[i+1]) || !schemas.StepMinute.Aligned(edges[i]) || !schemas.StepMinute.Aligned(edges[i+1]) {
			return nil, false
		}
		first, last := (from+hour-1)/hour*hour, to/hour*hour
		// The minute that the clock is in moves; cells of all minutes do for the next.
		cut := func(at, from, to, edge int64) {
			if from >= to {
				return
			}
			own := unit{from: at, to: at + hour, step: minute}
			if from%quarter == 0 && to%quarter == 0 {
				if own.step = quarter; edge != 0 {
					own.step, own.edge = 0, edge
				}
			}
			pieces = append(pieces, piece{own, from, to, i, of})
		}
		if first > last { // within one hour
			cut(last, from, to, 0)
			continue
		}
		cut(first-hour, from, first, from-(first-hour))
		if first < last {
			pieces = append(pieces, piece{unit{from: first, to: last}, first, last, i, of})
		}
		cut(last, last, to, to-last)
	}
	return pieces, true
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

// firstEdge and lastEdge enclose all that the rollups can hold.
var (
	firstEdge = schemas.StepHour.Floor(schemas.MinOccurredAt).Unix()
	lastEdge  = schemas.StepHour.Ceil(schemas.MaxOccurredAt).Unix()
)

// unitsStatement asks for units by cell and agent. They are sorted, and do not
// overlap.
func unitsStatement(q question, units []unit) *builder {
	var spans []span
	for i, u := range units {
		if i == 0 || units[i-1].to != u.from {
			spans = append(spans, span{part: partRange, edges: []time.Time{time.Unix(u.from, 0).UTC()}})
		}
		last := &spans[len(spans)-1]
		for at := u.after(u.from); ; at = u.after(at) {
			last.edges = append(last.edges, time.Unix(at, 0).UTC())
			if at >= u.to {
				break
			}
		}
	}
	b := newBuilder(q.workspace, "")
	b.add(usageByAgent, selection{spans: spans, minutesFrom: q.minutesFrom(), who: whoEach, byBar: true})
	return b
}

func compareUnits(a, b unit) int {
	return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.step, b.step), cmp.Compare(a.edge, b.edge))
}

// roundsOf puts units into statements: in each they are sorted and do not
// overlap.
func roundsOf(units []unit) (rounds [][]unit) {
	slices.SortFunc(units, compareUnits)
next:
	for _, u := range units {
		for i, round := range rounds {
			if round[len(round)-1].to <= u.from {
				rounds[i] = append(round, u)
				continue next
			}
		}
		rounds = append(rounds, []unit{u})
	}
	return rounds
}

// readUnits reads units that have to add up to totals, unless the same ones are
// being read at this moment, for as much as was counted. Some units may overlap.
func (s *Service) readUnits(ctx context.Context, route, name string, q question, positions string, missing map[unit]tally) (map[unit][]heldCell, error) {
	units := slices.SortedFunc(maps.Keys(missing), compareUnits)
	if positions == "" {
		return s.readUnitsAlone(ctx, route, name, q, units)
	}
	key := fmt.Appendf(nil, "units of %s at %s:", q.workspace, positions)
	for _, u := range units {
		total := missing[u]
		key = fmt.Appendf(key, " %d-%d/%d|%d=%v,%d,%d", u.from, u.to, u.step, u.edge, total.credits, total.messages, total.events)
	}
	return askOnce(ctx, &s.flights, string(key), func(ctx context.Context) (map[unit][]heldCell, error) {
		return s.readUnitsAlone(ctx, route, name, q, units)
	})
}

// readUnitsAlone reads units and holds them.
func (s *Service) readUnitsAlone(ctx context.Context, route, name string, q question, missing []unit) (map[unit][]heldCell, error) {
	began := time.Now()
	rounds := roundsOf(missing)
	read := make([]map[unit][]heldCell, len(rounds))
	group, ctx := errgroup.WithContext(ctx)
	for i, round := range rounds {
		group.Go(func() error {
			read[i] = make(map[unit][]heldCell, len(round))
			b := unitsStatement(q, round)
			names := map[string]string{}
			return s.readRows(ctx, route, name, b, b.sql(), func(r row) {
				at := int64(r.bar)
				// The last unit that begins at or before the row's cell.
				n, found := slices.BinarySearchFunc(round, at, func(u unit, at int64) int { return cmp.Compare(u.from, at) })
				if !found {
					n--
				}
				name, ok := names[string(r.who)]
				if !ok {
					name = string(r.who)
					names[name] = name
				}
				read[i][round[n]] = append(read[i][round[n]], heldCell{at, name, r.tally})
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make(map[unit][]heldCell, len(missing))
	for i, round := range rounds {
		for _, u := range round {
			entry := &heldEntry{key: heldKey{workspace: q.workspace, unit: u}, cells: read[i][u], read: began}
			for _, c := range entry.cells {
				entry.total.add(c.tally)
			}
			all[u] = entry.cells
			s.held.put(entry)
		}
	}
	return all, nil
}
