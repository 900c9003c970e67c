package query

import (
	"container/list"
	"context"
	"sync"
	"time"

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

// heldKey names what is held of a stretch of time of a workspace, or of one of its
// agents.
type heldKey struct {
	workspace schemas.WorkspaceID
	agent     string
	kind      heldKind
	unit
}

// heldKind tells apart what is held of one stretch of time.
type heldKind uint8

const (
	usageKind      heldKind = iota // what each agent used in each cell of a unit
	totalsKind                     // a workspace's totals
	seenKind                       // which agents had sent events
	lastKind                       // when the last usage was
	historyKind                    // an agent's usage before
	playgroundKind                 // Playground tests by agent
)

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

func totalOf(cells []heldCell) (sum tally) {
	for i := range cells {
		sum.add(cells[i].tally)
	}
	return sum
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
	return askOnce(ctx, &s.flights, flightKey{key, total, positions}, readAndHold)
}
