package query

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/schemas"
)

// What figures are made of is held in memory, bar by bar and agent by agent, so
// that a question reads from ClickHouse only what has changed since it or
// another like it was asked.
//
// # Why what is held is right
//
// Every question first learns what the whole workspace used, by hour, from the
// small rollup of workspaces (totalsOf). A bar that is held is used only if its agents add
// up to exactly that: in credits, in messages and in events. The ledger only
// grows, and each of its rows adds one event to its bar; so as long as a bar has
// the same number of events, no row was added to it, and none of its agents
// moved. Late events, corrections and erasures change the sums, whatever the age
// of their bar.
//
// A block that is in one rollup and not yet in another, in the moment before its
// insert has ended or until its repair, leaves bars that do not add up: they are
// read anew each time until they do.
//
// What this cannot see is a repair that takes from one agent what it gives to
// another, credits, messages and events alike, in a rollup that was changed by
// hand: that is seen when what is held comes of age.
type heldFigures struct {
	bound  int // cells
	maxAge time.Duration

	mu    sync.Mutex // guards what follows
	byKey map[heldKey]*list.Element
	order *list.List // of *heldEntry, what was used last in front
	cells int
}

// heldKey names a stretch of time of a workspace, or of one of its agents.
type heldKey struct {
	workspace schemas.WorkspaceID
	agent     string
	unit
}

// unit is a stretch of whole hours, from and to in Unix seconds. An hour that the
// edge of a bar cuts has several cells: with a step one for every so many
// seconds, or with an edge one before and one after so many seconds.
type unit struct {
	from, to, step, edge int64
}

// heldEntry is what is held under a key. What it holds never changes.
type heldEntry struct {
	key   heldKey
	cells []heldCell
	hours *heldHours // instead of cells: see totalsOf
	// positions is how far the workspace's partitions were known to be counted
	// before it was read, of what cannot be added up to anything.
	positions string
	total     tally
	read      time.Time
}

// heldCell is what one agent used in a cell of a unit.
type heldCell struct {
	at    int64 // where the cell begins, in Unix seconds
	agent string
	tally
}

func newHeldFigures(bound int, maxAge time.Duration) *heldFigures {
	return &heldFigures{bound: bound, maxAge: maxAge, byKey: map[heldKey]*list.Element{}, order: list.New()}
}

// get returns what is held of a unit if it adds up to total.
func (h *heldFigures) get(key heldKey, total tally, now time.Time) (cells []heldCell, ok bool) {
	entry := h.find(key, now)
	if entry == nil || entry.total != total {
		return nil, false
	}
	return entry.cells, true
}

// find returns what is held under a key, whether or not it is right by now.
func (h *heldFigures) find(key heldKey, now time.Time) *heldEntry {
	h.mu.Lock()
	defer h.mu.Unlock()
	element := h.byKey[key]
	if element == nil {
		return nil
	}
	entry := element.Value.(*heldEntry) //nolint:forcetypeassert // nothing else is put in
	if now.Sub(entry.read) > h.maxAge {
		return nil
	}
	h.order.MoveToFront(element)
	return entry
}

// drop lets go of what is held under a key.
func (h *heldFigures) drop(key heldKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if element := h.byKey[key]; element != nil {
		h.forget(element)
	}
}

// put holds a unit, and lets go of those that were not used for longest where
// there are too many cells.
func (h *heldFigures) put(entry *heldEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if element := h.byKey[entry.key]; element != nil {
		h.forget(element)
	}
	if entry.size() > h.bound {
		return
	}
	h.byKey[entry.key] = h.order.PushFront(entry)
	for h.cells += entry.size(); h.cells > h.bound; {
		h.forget(h.order.Back())
	}
}

func (h *heldFigures) forget(element *list.Element) {
	entry := element.Value.(*heldEntry) //nolint:forcetypeassert // nothing else is put in
	h.order.Remove(element)
	delete(h.byKey, entry.key)
	h.cells -= entry.size()
}

// size is what an entry counts for in cells; one without any takes memory too.
func (e *heldEntry) size() int {
	size := len(e.cells) + 4
	if e.hours != nil {
		size += len(e.hours.older.hours) + len(e.hours.recent.hours)
	}
	return size
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

// firstEdge and lastEdge enclose all that the rollups can hold.
var (
	firstEdge = schemas.StepHour.Floor(schemas.MinOccurredAt).Unix()
	lastEdge  = schemas.StepHour.Ceil(schemas.MaxOccurredAt).Unix()
)

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
	b.add(usageByAgent, spans, q.minutesFrom(), whoEach, false, true)
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
	return share(ctx, &s.flights, string(key), func(ctx context.Context) (map[unit][]heldCell, error) {
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
			return s.readRows(ctx, route, name, b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
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
