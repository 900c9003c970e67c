package query

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/query/tiers"
	"agentmeter/schemas"
)

// hourSums are what a whole workspace used, by hour.
type hourSums struct {
	hours []int64 // those with usage, in order, as Unix seconds
	sums  []tally // of all before the hour; one more than hours: the last is of all
}

// usedHour is what was used in an hour.
type usedHour struct {
	hour int64
	tally
}

// hoursOf adds up hours, which are in order.
func hoursOf(used []usedHour) *hourSums {
	h := &hourSums{hours: make([]int64, 0, len(used)), sums: make([]tally, 1, len(used)+1)}
	for _, own := range used {
		sum := h.sums[len(h.sums)-1]
		sum.add(own.tally)
		h.hours, h.sums = append(h.hours, own.hour), append(h.sums, sum)
	}
	return h
}

// before is what was used before a whole hour.
func (h *hourSums) before(at int64) tally {
	n, _ := slices.BinarySearch(h.hours, at)
	return h.sums[n]
}

// workspaceTotals are what a whole workspace used, as it was when they were
// read, between any whole hours.
type workspaceTotals struct {
	older  *hourSums // hours before from
	from   int64
	recent *hourSums // the hours from then on
	tests  tally     // of the Playground, whenever they were
}

// before is what was used before a whole hour.
func (t *workspaceTotals) before(at int64) tally {
	if at <= t.from {
		return t.older.before(at)
	}
	sum := t.older.before(t.from)
	sum.add(t.recent.before(at))
	return sum
}

// lastHour is the last hour with an event that was not taken back.
func (t *workspaceTotals) lastHour() int64 {
	for _, part := range []*hourSums{t.recent, t.older} {
		for i := len(part.hours) - 1; i >= 0; i-- {
			if part.sums[i+1].events > part.sums[i].events {
				return part.hours[i]
			}
		}
	}
	return 0
}

// between is what was used from one whole hour to another.
func (t *workspaceTotals) between(from, to int64) tally {
	return t.before(to).minus(t.before(from))
}

// heldHours are a workspace's totals as they are held.
type heldHours struct {
	workspaceTotals
	positions string    // how far its partitions were known to be counted before they were read
	looked    time.Time // when they were read or last seen to be right
}

// olderAfter is how long ago an hour ends that is held: what occurs is counted
// within seconds, so that hours before the last one seldom change.
const olderAfter = time.Hour

// totalsOf reads a workspace's totals, at an instant by the clock. The watermark was
// read before.
//
// As long as no partition of the workspace is known to have been counted any
// further, the totals that were read last are the answer: they hold all that
// counted_through promises, though totals that are read later, with the same
// counted_through, may hold more. Otherwise the last hours are read, with the sum
// of all before, which are held and are right as long as they have that sum.
//
// A reader that has heard of news from the live stream, maybe from another
// process, says of which; unless the totals are those, they are read.
func (s *Service) totalsOf(ctx context.Context, u usageRequest, at time.Time, w watermark) (*workspaceTotals, error) {
	key := heldKey{workspace: u.workspace, kind: totalsKind, unit: unit{from: firstEdge, to: lastEdge}}
	now := time.Now()
	if entry := s.held.find(key, now); entry != nil && w.positions != "" && entry.hours.positions == w.positions && now.Sub(entry.hours.looked) < s.config.TotalsMaxAge &&
		(u.heard == "" || liveID(u.workspace, &entry.hours.workspaceTotals) == u.heard) {
		s.metrics.totals.WithLabelValues("held").Inc()
		return &entry.hours.workspaceTotals, nil
	}
	s.metrics.totals.WithLabelValues("read").Inc()
	look := func(ctx context.Context) (*workspaceTotals, error) { return s.readTotals(ctx, u, at, w, key) }
	if w.positions == "" || u.heard != "" {
		return look(ctx)
	}
	type flightKey struct {
		heldKey
		positions string
	}
	return askOnce(ctx, &s.flights, flightKey{key, w.positions}, look)
}

// readTotals reads a workspace's totals and holds them.
func (s *Service) readTotals(ctx context.Context, u usageRequest, at time.Time, w watermark, key heldKey) (*workspaceTotals, error) {
	now := time.Now()
	var held *heldHours
	read := now
	if entry := s.held.find(key, now); entry != nil {
		held, read = entry.hours, entry.read
	}
	t := workspaceTotals{older: hoursOf(nil), recent: hoursOf(nil)}
	if held != nil {
		t.older, t.from = held.older, held.from
	}
	var hours []usedHour
	group, ctx := errgroup.WithContext(ctx) // two statements take less time than one of two tables
	group.Go(func() (err error) {
		t.tests, err = s.readTests(ctx, u)
		return err
	})
	group.Go(func() error {
		older, recent, err := s.readHours(ctx, u, t.from)
		if err == nil && older != t.older.before(t.from) {
			// Something of the past has changed, which is read once more, whole.
			held, t.from = nil, 0
			_, recent, err = s.readHours(ctx, u, 0)
		}
		hours = recent
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if held == nil {
		read, t.from = now, schemas.StepHour.Floor(at.Add(-olderAfter)).Unix()
		split := slices.IndexFunc(hours, func(h usedHour) bool { return h.hour >= t.from })
		if split < 0 {
			split = len(hours)
		}
		t.older, hours = hoursOf(hours[:split]), hours[split:]
	}
	t.recent = hoursOf(hours)
	s.held.put(&heldEntry{key: key, read: read, hours: &heldHours{workspaceTotals: t, positions: w.positions, looked: now}})
	return &t, nil
}

// readHours reads a workspace's hours from one on, in order, and the sum of those
// before.
func (s *Service) readHours(ctx context.Context, u usageRequest, from int64) (older tally, hours []usedHour, err error) {
	err = s.readRows(ctx, u.route, "hours", hoursStatement(u.workspace, from), hoursSQL, func(r row) {
		if int64(r.bar) < from {
			older.add(r.tally)
		} else {
			hours = append(hours, usedHour{int64(r.bar), r.tally})
		}
	})
	slices.SortFunc(hours, func(a, b usedHour) int { return cmp.Compare(a.hour, b.hour) })
	return older, hours, err
}

// readTests reads the sum of a workspace's Playground tests.
func (s *Service) readTests(ctx context.Context, u usageRequest) (sum tally, err error) {
	err = s.readRows(ctx, u.route, "tests", wholeOf(u.workspace, playgroundTests), testsSQL, func(r row) { sum.add(r.tally) })
	return sum, err
}

func hoursStatement(workspace schemas.WorkspaceID, from int64) *builder {
	b := wholeOf(workspace, usageByWorkspace)
	b.params["from"] = strconv.FormatInt(from, 10)
	return b
}

// wholeOf says that a statement, whose text is one of its own, reads all of a
// workspace from a family's first table.
func wholeOf(workspace schemas.WorkspaceID, f family) *builder {
	b := newBuilder(workspace, "")
	step := f.steps[0]
	own := f.branch(step)
	own.Reads = []branchRead{{Step: seconds(step), planned: tiers.Read{Step: step, From: time.Unix(firstEdge, 0), To: time.Unix(lastEdge, 0)}}}
	b.branches = append(b.branches, own)
	b.noteTier(step)
	return b
}

var (
	hoursSQL = render("hours", map[string]any{"Part": partTotals})
	testsSQL = render("tests", map[string]any{"Part": partPlayground})
)
