package query

import (
	"cmp"
	"container/list"
	"context"
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
// Every question first reads what the whole workspace used, by bar, from the
// small rollup of workspaces. A bar that is held is used only if its agents add
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

// heldKey names a stretch of whole hours of a workspace.
type heldKey struct {
	workspace schemas.WorkspaceID
	unit
}

// unit is a stretch of whole hours, from and to in Unix seconds. With a step its
// cells are told apart by that many seconds: an hour that the edge of a bar
// cuts.
type unit struct {
	from, to, step int64
}

// heldEntry is what is held under a key. Its cells never change.
type heldEntry struct {
	key   heldKey
	cells []heldCell
	total tally
	read  time.Time
}

// heldCell is what one agent used in a step of a unit.
type heldCell struct {
	at    int64 // where the step begins, in Unix seconds
	agent string
	tally
}

func newHeldFigures(bound int, maxAge time.Duration) *heldFigures {
	return &heldFigures{bound: bound, maxAge: maxAge, byKey: map[heldKey]*list.Element{}, order: list.New()}
}

// get returns what is held of a unit if it adds up to total.
func (h *heldFigures) get(key heldKey, total tally, now time.Time) (cells []heldCell, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	element := h.byKey[key]
	if element == nil {
		return nil, false
	}
	entry := element.Value.(*heldEntry) //nolint:forcetypeassert // nothing else is put in
	if entry.total != total || now.Sub(entry.read) > h.maxAge {
		return nil, false
	}
	h.order.MoveToFront(element)
	return entry.cells, true
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
func (e *heldEntry) size() int { return len(e.cells) + 4 }

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
	compared bool
}

// piecesOf cuts bars into pieces. ok is false for edges that no rollup has, such
// as those before 1970.
func piecesOf(edges []time.Time, compared bool) (pieces []piece, ok bool) {
	for i := range max(0, len(edges)-1) {
		from, to := edges[i].Unix(), edges[i+1].Unix()
		if from < 0 || to != clampUnix(edges[i+1]) || !schemas.StepMinute.Aligned(edges[i]) || !schemas.StepMinute.Aligned(edges[i+1]) {
			return nil, false
		}
		first, last := (from+hour-1)/hour*hour, to/hour*hour
		cut := func(at, from, to int64) {
			if from >= to {
				return
			}
			step := minute
			if from%quarter == 0 && to%quarter == 0 {
				step = quarter
			}
			pieces = append(pieces, piece{unit{at, at + hour, step}, from, to, i, compared})
		}
		if first > last { // within one hour
			cut(last, from, to)
			continue
		}
		cut(first-hour, from, first)
		if first < last {
			pieces = append(pieces, piece{unit{first, last, 0}, first, last, i, compared})
		}
		cut(last, last, to)
	}
	return pieces, true
}

// workspaceTotals are what a whole workspace used, between edges at whole hours.
type workspaceTotals struct {
	edges []int64
	sums  []tally // before each edge: sums[i] is of all events before edges[i]
}

// between is what was used from one edge to another.
func (t *workspaceTotals) between(from, to int64) tally {
	before, _ := slices.BinarySearch(t.edges, from)
	until, _ := slices.BinarySearch(t.edges, to)
	return t.sums[until].minus(t.sums[before])
}

// totalsStatement asks for what the workspace used between the edges.
func totalsStatement(q question, edges []int64) *builder {
	at := make([]time.Time, len(edges))
	for i, edge := range edges {
		at[i] = time.Unix(edge, 0).UTC()
	}
	b := newBuilder(q.workspace, "")
	b.add(usageByWorkspace, []span{{partTotals, at}}, q.minutesFrom(), whoNone, false, true)
	return b
}

// totalsOf reads what the workspace used between the edges, which are whole
// hours, in one branch of one statement.
func (s *Service) totalsOf(ctx context.Context, route string, q question, edges []int64) (*workspaceTotals, error) {
	slices.Sort(edges)
	t := &workspaceTotals{edges: slices.Compact(edges)}
	t.sums = make([]tally, len(t.edges))
	b := totalsStatement(q, t.edges)
	err := s.readRows(ctx, route, "totals", b, render("totals", map[string]any{"Branches": b.branches}), func(r row) {
		if i, ok := slices.BinarySearch(t.edges, int64(r.bar)); ok && i+1 < len(t.sums) {
			t.sums[i+1].add(r.tally)
		}
	})
	for i := 1; i < len(t.sums); i++ {
		t.sums[i].add(t.sums[i-1])
	}
	return t, err
}

// firstEdge and lastEdge enclose all that the rollups can hold.
var (
	firstEdge = schemas.StepHour.Floor(schemas.MinOccurredAt).Unix()
	lastEdge  = schemas.StepHour.Ceil(schemas.MaxOccurredAt).Unix()
)

// unitsStatement asks for units by step and agent. They are sorted, and do not
// overlap.
func unitsStatement(q question, units []unit) *builder {
	var spans []span
	for i, u := range units {
		step := u.step
		if step == 0 {
			step = u.to - u.from
		}
		if i == 0 || units[i-1].to != u.from {
			spans = append(spans, span{part: partRange, edges: []time.Time{time.Unix(u.from, 0).UTC()}})
		}
		last := &spans[len(spans)-1]
		for at := u.from + step; at <= u.to; at += step {
			last.edges = append(last.edges, time.Unix(at, 0).UTC())
		}
	}
	b := newBuilder(q.workspace, "")
	b.add(usageByAgent, spans, q.minutesFrom(), whoEach, false, true)
	return b
}

// roundsOf puts units into statements: in each they are sorted and do not
// overlap.
func roundsOf(units []unit) (rounds [][]unit) {
	slices.SortFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.step, b.step))
	})
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

// readUnits reads units, of which some may overlap, and holds them.
func (s *Service) readUnits(ctx context.Context, route string, q question, missing []unit) (map[unit][]heldCell, error) {
	began := time.Now()
	rounds := roundsOf(missing)
	read := make([]map[unit][]heldCell, len(rounds))
	group, ctx := errgroup.WithContext(ctx)
	for i, round := range rounds {
		group.Go(func() error {
			read[i] = make(map[unit][]heldCell, len(round))
			b := unitsStatement(q, round)
			names := map[string]string{}
			return s.readRows(ctx, route, "usage", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
				at := int64(r.bar)
				// The last unit that begins at or before the row's step.
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
			entry := &heldEntry{key: heldKey{q.workspace, u}, cells: read[i][u], read: began}
			for _, c := range entry.cells {
				entry.total.add(c.tally)
			}
			all[u] = entry.cells
			s.held.put(entry)
		}
	}
	return all, nil
}

// heldQuestion is how a question is answered from what is held.
type heldQuestion struct {
	pieces []piece
	edges  []int64 // at which the workspace's totals are needed
}

func (s *Service) holdable(q question) (heldQuestion, bool) {
	h, ok := holdable(q)
	return h, ok && s.held != nil
}

// holdable prepares a question to be answered from what is held; ok is false for
// one that cannot be.
func holdable(q question) (h heldQuestion, ok bool) {
	if h.pieces, ok = piecesOf(q.edges, false); !ok {
		return h, false
	}
	if q.comparison != nil {
		compared, ok := piecesOf(q.comparison.edges, true)
		if !ok {
			return h, false
		}
		h.pieces = append(h.pieces, compared...)
	}
	h.edges = []int64{firstEdge, lastEdge}
	for _, p := range h.pieces {
		if p.unit.from < firstEdge || p.unit.to > lastEdge {
			return h, false
		}
		h.edges = append(h.edges, p.unit.from, p.unit.to)
	}
	return h, true
}

// heldFiguresOf puts a question's figures together from what is held and what it
// reads anew.
func (s *Service) heldFiguresOf(ctx context.Context, route string, q question, h heldQuestion, totals *workspaceTotals) (*figures, error) {
	f := newFigures(q)
	cells := map[unit][]heldCell{}
	missing := map[unit]bool{}
	now := time.Now()
	for _, p := range h.pieces {
		if _, known := cells[p.unit]; known || missing[p.unit] {
			continue
		}
		total := totals.between(p.unit.from, p.unit.to)
		if total.none() {
			// Nothing was recorded, so no agent has anything.
			cells[p.unit] = nil
		} else if held, ok := s.held.get(heldKey{q.workspace, p.unit}, total, now); ok {
			cells[p.unit] = held
		} else {
			missing[p.unit] = true
		}
	}
	s.metrics.heldUnits.WithLabelValues("held").Add(float64(len(cells)))
	s.metrics.heldUnits.WithLabelValues("read").Add(float64(len(missing)))
	if len(missing) > 0 {
		read, err := s.readUnits(ctx, route, q, slices.Collect(maps.Keys(missing)))
		if err != nil {
			return nil, err
		}
		maps.Copy(cells, read)
	}
	for _, p := range h.pieces {
		for i := range cells[p.unit] {
			c := &cells[p.unit][i]
			if c.at < p.from || c.at >= p.to {
				continue
			}
			who := c.agent
			if q.agent != "" && who != q.agent {
				who = ""
			}
			f.add(p.bar, p.compared, who, c.tally)
		}
	}
	f.finish()
	return f, nil
}

// usageOf reads the figures of a question without its Playground tests, from
// what is held where that can be.
func (s *Service) usageOf(ctx context.Context, route string, q question) (*figures, error) {
	h, ok := s.holdable(q)
	if !ok {
		return s.figuresOf(ctx, route, q, false)
	}
	totals, err := s.totalsOf(ctx, route, q, h.edges)
	if err != nil {
		return nil, err
	}
	return s.heldFiguresOf(ctx, route, q, h, totals)
}

// reading is what every answer to a question begins with, and what alone decides
// whether anything of it has changed.
type reading struct {
	heldQuestion
	held       bool // the question is answered from what is held
	history    []time.Time
	fromTotals bool // so is what surrounds its figures
	totals     *workspaceTotals
	playground tally
}

// begin reads what the workspace used, by bar, and the Playground tests of the
// range, if the question can be answered from what is held.
func (s *Service) begin(ctx context.Context, route string, q question, history []time.Time) (*reading, error) {
	r := &reading{history: history}
	if r.heldQuestion, r.held = s.holdable(q); !r.held {
		return r, nil
	}
	// With one agent chosen, what surrounds the figures is about that one.
	if q.agent == "" && wholeHours(q.interval.Start, q.interval.End) && wholeHours(history...) {
		r.fromTotals = true
		for _, edge := range history {
			r.edges = append(r.edges, edge.Unix())
		}
		r.edges = append(r.edges, q.interval.Start.Unix(), q.interval.End.Unix())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		r.playground, err = s.playgroundOf(ctx, route, q)
		return err
	})
	group.Go(func() (err error) {
		r.totals, err = s.totalsOf(ctx, route, q, r.edges)
		return err
	})
	return r, group.Wait()
}

// finish reads a question's figures and what surrounds them; see surroundingsOf.
func (s *Service) finish(ctx context.Context, route string, q question, r *reading, seenBefore time.Time) (f *figures, around *surroundings, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if r.held {
			f, err = s.heldFiguresOf(ctx, route, q, r.heldQuestion, r.totals)
		} else {
			f, err = s.figuresOf(ctx, route, q, true)
		}
		return err
	})
	group.Go(func() (err error) {
		if r.fromTotals {
			around, err = s.heldSurroundingsOf(ctx, route, q, r.history, r.totals)
		} else {
			around, err = s.surroundingsOf(ctx, route, q, r.history, seenBefore)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	f.playground.add(r.playground)
	return f, around, nil
}

// fingerprint is what the figures of a closed range depend on.
func (r *reading) fingerprint(q question) fingerprint {
	end := schemas.StepHour.Ceil(q.interval.End).Unix()
	out := fingerprint{Playground: r.playground.messages}
	for i, edge := range r.totals.edges {
		if edge > end {
			break
		}
		sum := r.totals.sums[i]
		out.Totals = append(out.Totals, sum.credits.String(), count(sum.messages), count(sum.events))
	}
	start := schemas.StepHour.Floor(q.interval.Start).Unix()
	if r.totals.between(start, end).events == 0 || q.agent != "" {
		// The last usage is shown where the interval is empty, as it may be for
		// one agent though it is not for the workspace.
		out.Everything = r.totals.between(firstEdge, lastEdge).events
	}
	return out
}

func wholeHours(instants ...time.Time) bool {
	for _, at := range instants {
		if !schemas.StepHour.Aligned(at) || at.Unix() < firstEdge || at.Unix() > lastEdge {
			return false
		}
	}
	return true
}

// playgroundOf reads the Playground tests of a question's range.
func (s *Service) playgroundOf(ctx context.Context, route string, q question) (sum tally, err error) {
	b := newBuilder(q.workspace, q.agent)
	b.addPlayground(q)
	err = s.readRows(ctx, route, "playground", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) { sum.add(r.tally) })
	return sum, err
}

// Steps of units that hold no usage but what surrounds it.
const (
	seenUnit = -1 - iota // which agents had sent events
	lastUnit             // when the last usage was
)

// heldSurroundingsOf is surroundingsOf for all agents, from a workspace's totals
// and what is held. All times are whole hours.
func (s *Service) heldSurroundingsOf(ctx context.Context, route string, q question, history []time.Time, totals *workspaceTotals) (*surroundings, error) {
	out := &surroundings{history: make([]tally, max(0, len(history)-1)), seen: map[string]bool{}}
	for i := range out.history {
		out.history[i] = totals.between(history[i].Unix(), history[i+1].Unix())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// Who has sent in the range is known from its figures.
		seen, err := s.seenBefore(ctx, route, q, q.interval.Start, totals)
		if err != nil || !q.interval.End.After(q.now) || totals.between(q.interval.End.Unix(), lastEdge).none() {
			out.seen = seen
			return err
		}
		out.seen, err = s.seenBefore(ctx, route, q, time.Unix(lastEdge, 0).UTC(), totals)
		return err
	})
	group.Go(func() (err error) {
		out.lastUsage, err = s.lastUsage(ctx, route, q, totals)
		return err
	})
	return out, group.Wait()
}

// seenBefore are the agents that had sent events which occurred before a whole
// hour.
func (s *Service) seenBefore(ctx context.Context, route string, q question, before time.Time, totals *workspaceTotals) (map[string]bool, error) {
	key := heldKey{q.workspace, unit{firstEdge, before.Unix(), seenUnit}}
	seen := map[string]bool{}
	total := totals.between(firstEdge, before.Unix())
	if total.none() {
		return seen, nil
	}
	now := time.Now()
	cells, ok := s.held.get(key, total, now)
	if !ok {
		b := newBuilder(q.workspace, "")
		b.add(usageByAgent, []span{{partSeen, []time.Time{time.Unix(firstEdge, 0).UTC(), before}}}, q.minutesFrom(), whoEach, false, false)
		entry := &heldEntry{key: key, read: now}
		byAgent := map[string]tally{} // some tiers may both know an agent
		err := s.readRows(ctx, route, "seen", b, render("usage", map[string]any{"Branches": b.branches}), func(r row) {
			sum := byAgent[string(r.who)]
			sum.add(r.tally)
			byAgent[string(r.who)] = sum
			entry.total.add(r.tally)
		})
		if err != nil {
			return nil, err
		}
		for agent, sum := range byAgent {
			entry.cells = append(entry.cells, heldCell{agent: agent, tally: sum})
		}
		cells = entry.cells
		s.held.put(entry)
	}
	for _, c := range cells {
		if c.events != 0 {
			seen[c.agent] = true
		}
	}
	return seen, nil
}

// lastUsage is when the workspace was last used, to the quarter of an hour.
func (s *Service) lastUsage(ctx context.Context, route string, q question, totals *workspaceTotals) (last time.Time, err error) {
	key := heldKey{q.workspace, unit{firstEdge, lastEdge, lastUnit}}
	total := totals.between(firstEdge, lastEdge)
	if total.none() {
		return time.Time{}, nil
	}
	now := time.Now()
	if cells, ok := s.held.get(key, total, now); ok && len(cells) == 1 {
		return time.Unix(cells[0].at, 0).UTC(), nil
	}
	b := newBuilder(q.workspace, "")
	err = s.readRows(ctx, route, "last", b, contextStatement(b, q), func(r row) { last = time.Unix(int64(r.bar), 0).UTC() })
	if err == nil && !last.IsZero() {
		s.held.put(&heldEntry{key: key, cells: []heldCell{{at: last.Unix()}}, total: total, read: now})
	}
	return last, err
}
