package tiers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

var allSteps = schemas.Steps[:]

// cells lists what a read covers, as intervals: cell by cell, or for the ledger
// the spans of instants.
func (r Read) cells() []schemas.Interval {
	var cells []schemas.Interval
	inside := func(at time.Time) bool {
		if r.Inside == nil {
			return true
		}
		_, found := slices.BinarySearchFunc(r.Inside, r.InsideStep.Floor(at), time.Time.Compare)
		return found
	}
	if r.Step == Ledger {
		if r.Inside == nil {
			return []schemas.Interval{{Start: r.From, End: r.To}}
		}
		for _, outer := range r.Inside {
			span := schemas.Interval{Start: outer, End: outer.Add(time.Duration(r.InsideStep))}
			if span = span.Intersect(schemas.Interval{Start: r.From, End: r.To}); !span.Empty() {
				cells = append(cells, span)
			}
		}
		return cells
	}
	step := time.Duration(r.Step)
	for cell := r.Step.Ceil(r.From); cell.Before(r.To); cell = cell.Add(step) {
		if _, skipped := slices.BinarySearchFunc(r.Skip, cell, time.Time.Compare); !skipped && inside(cell) {
			cells = append(cells, schemas.Interval{Start: cell, End: cell.Add(step)})
		}
	}
	return cells
}

func drawEdges(t *rapid.T) []time.Time {
	if rapid.Bool().Draw(t, "calendar") {
		zone, err := calendar.LoadZone(rapid.SampledFrom([]string{
			"UTC", "Europe/Copenhagen", "Asia/Kathmandu", "Asia/Kolkata", "Pacific/Chatham", "Australia/Lord_Howe",
			"America/Santiago", "Pacific/Apia", "America/St_Johns", "Africa/Monrovia",
		}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 60*366*24*60).Draw(t, "start")) * time.Minute)
		grain := rapid.SampledFrom(calendar.Grains[:]).Draw(t, "grain")
		longest := map[calendar.Grain]int64{calendar.Minute: 2 * 24 * 60}[grain]
		if longest == 0 {
			longest = 70 * 24 * 60
		}
		end := start.Add(time.Duration(rapid.Int64Range(1, longest).Draw(t, "minutes")) * time.Minute)
		edges, _ := calendar.Bars(schemas.NewInterval(start, end), zone, grain, 1e6)
		return edges
	}
	unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 5 * time.Minute, schemas15, time.Hour, 6 * time.Hour, 24 * time.Hour}).Draw(t, "unit")
	offsets := rapid.SliceOfNDistinct(rapid.Int64Range(0, 500), 2, 40, rapid.ID[int64]).Draw(t, "edges")
	slices.Sort(offsets)
	base := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 2*24*60*60).Draw(t, "base")) * time.Second)
	edges := make([]time.Time, len(offsets))
	for i, offset := range offsets {
		edges[i] = base.Add(time.Duration(offset) * unit)
	}
	return edges
}

const schemas15 = 15 * time.Minute

// The law that every figure rests on.
func TestCellsTileTheBarsExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		edges := drawEdges(t)
		steps := rapid.SampledFrom([][]schemas.Step{
			allSteps, allSteps[1:], {schemas.StepQuarter}, {schemas.StepDay}, {schemas.StepHour, schemas.StepMinute}, {},
		}).Draw(t, "steps")
		var minutesFrom time.Time
		if rapid.Bool().Draw(t, "minutes expire") {
			span := int64(edges[len(edges)-1].Sub(edges[0])/time.Minute) + 200
			minutesFrom = edges[0].Add(time.Duration(rapid.Int64Range(-100, span).Draw(t, "minutes from")) * time.Minute)
		}
		reads := Plan(edges, minutesFrom, steps)
		var cells []schemas.Interval
		for _, read := range reads {
			own := read.cells()
			if len(own) == 0 {
				t.Fatalf("a read covers nothing: %v", read)
			}
			if own[0].Start.Before(read.From) || !own[len(own)-1].Start.Before(read.To) {
				t.Fatalf("a read covers more than its range: %v", read)
			}
			if read.Step == schemas.StepMinute && read.From.Before(minutesFrom) {
				t.Fatalf("minutes are read before %s: %v", minutesFrom, read)
			}
			if read.Step != Ledger && !slices.Contains(steps, read.Step) {
				t.Fatalf("a tier is read that there is not: %v", read)
			}
			if len(read.Skip) > len(edges) || len(read.Inside) > len(edges) {
				t.Fatalf("longer lists than edges: %v", read)
			}
			if !slices.IsSortedFunc(read.Skip, time.Time.Compare) || !slices.IsSortedFunc(read.Inside, time.Time.Compare) {
				t.Fatalf("a list is not sorted: %v", read)
			}
			if read.Step != Ledger { // within one bar each
				for _, cell := range own {
					bar, found := slices.BinarySearchFunc(edges, cell.Start, time.Time.Compare)
					if !found {
						bar--
					}
					if bar < 0 || bar+1 >= len(edges) || cell.End.After(edges[bar+1]) {
						t.Fatalf("%s cell %s lies in no single bar of %v", read.Step, cell, edges)
					}
				}
			}
			cells = append(cells, own...)
		}
		slices.SortFunc(cells, func(a, b schemas.Interval) int { return a.Start.Compare(b.Start) })
		at := edges[0]
		for _, cell := range cells {
			if !cell.Start.Equal(at) {
				t.Fatalf("after %s comes %s, which is a gap or read twice; reads %v", at, cell, reads)
			}
			at = cell.End
		}
		if !at.Equal(edges[len(edges)-1]) {
			t.Fatalf("cells end at %s, want %s; reads %v", at, edges[len(edges)-1], reads)
		}
	})
}

// A cell is read from the coarsest tier that it can be read from, but for a few
// that another tier would be asked for alone.
func TestTheCoarsestTierIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		edges := drawEdges(t)
		for _, read := range Plan(edges, time.Time{}, allSteps) {
			finer := 0
			for _, cell := range read.cells() {
				for _, coarser := range allSteps {
					if read.Step != Ledger && coarser <= read.Step {
						break
					}
					if read.Step == Ledger && coarser == schemas.StepMinute && cell.Duration() < time.Minute {
						break
					}
					start := coarser.Floor(cell.Start)
					end := start.Add(time.Duration(coarser))
					whole := !start.Before(edges[0]) && !end.After(edges[len(edges)-1])
					cut := slices.ContainsFunc(edges, func(edge time.Time) bool { return edge.After(start) && edge.Before(end) })
					if whole && !cut {
						finer++
						break
					}
				}
			}
			if finer > fewCells || finer > 0 && read.Step == Ledger {
				t.Fatalf("%d cells are read by %s though a coarser tier has them whole", finer, read.Step)
			}
		}
	})
}

func TestNoBarsNeedNoReads(t *testing.T) {
	t.Parallel()
	if reads := Plan(nil, time.Time{}, allSteps); reads != nil {
		t.Errorf("no edges: %v", reads)
	}
	if reads := Plan([]time.Time{time.Unix(0, 0)}, time.Time{}, allSteps); reads != nil {
		t.Errorf("one edge: %v", reads)
	}
}

// String says a read in one line, for the tables below.
func (r Read) String() string {
	var b strings.Builder
	name := "ledger"
	if r.Step != Ledger {
		name = r.Step.String()
	}
	fmt.Fprintf(&b, "%s %s..%s", name, r.From.Format("01-02T15:04"), r.To.Format("01-02T15:04"))
	list := func(word string, cells []time.Time) {
		if cells != nil {
			fmt.Fprintf(&b, " %s", word)
			for _, cell := range cells {
				fmt.Fprintf(&b, " %s", cell.Format("01-02T15:04"))
			}
		}
	}
	list("without", r.Skip)
	list("inside "+r.InsideStep.String()+"s", r.Inside)
	return b.String()
}

func TestOrdinaryQuestionsReadNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	instant := func(text string) time.Time {
		at, err := time.Parse("2006-01-02T15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	tests := []struct {
		name, zone, start, end string
		grain                  calendar.Grain
		minutesFrom            string
		want                   []string
	}{
		{
			name: "days in UTC need the day tier alone", zone: "UTC", grain: calendar.Day,
			start: "2026-11-01T00:00", end: "2026-11-25T00:00",
			want: []string{"day 11-01T00:00..11-25T00:00"},
		},
		{
			name: "days an hour ahead need the hour tier alone", zone: "Europe/Copenhagen", grain: calendar.Day,
			start: "2026-10-31T23:00", end: "2026-11-24T23:00",
			want: []string{"hour 10-31T23:00..11-24T23:00"},
		},
		{
			name: "weeks an hour ahead read whole days and the hours around their edges", zone: "Europe/Copenhagen", grain: calendar.Week,
			start: "2026-11-01T23:00", end: "2026-11-15T23:00",
			want: []string{
				"day 11-02T00:00..11-15T00:00 without 11-08T00:00",
				"hour 11-01T23:00..11-15T23:00 inside days 11-01T00:00 11-08T00:00 11-15T00:00",
			},
		},
		{
			name: "days at a quarter-hour offset", zone: "Asia/Kathmandu", grain: calendar.Day,
			start: "2026-11-22T18:15", end: "2026-11-24T18:15",
			want: []string{
				"hour 11-22T19:00..11-24T18:00 without 11-23T18:00",
				"quarter 11-22T18:15..11-24T18:15 inside hours 11-22T18:00 11-23T18:00 11-24T18:00",
			},
		},
		{
			name: "the minutes of one hour are read without the quarters", zone: "Europe/Copenhagen", grain: calendar.Day,
			start: "2026-10-24T22:00", end: "2026-10-26T13:34",
			want: []string{
				"hour 10-24T22:00..10-26T13:00",
				"minute 10-26T13:00..10-26T13:34",
			},
		},
		{
			name: "old minutes are as few as can be", zone: "Europe/Copenhagen", grain: calendar.Day,
			start: "2026-10-24T22:00", end: "2026-10-26T13:34", minutesFrom: "2026-11-01T00:00",
			want: []string{
				"hour 10-24T22:00..10-26T13:00",
				"quarter 10-26T13:00..10-26T13:30",
				"ledger 10-26T13:30..10-26T13:34",
			},
		},
		{
			name: "minutes are read as minutes", zone: "UTC", grain: calendar.Minute,
			start: "2026-11-24T10:07", end: "2026-11-24T10:11", minutesFrom: "2026-10-25T00:00",
			want: []string{"minute 11-24T10:07..11-24T10:11"},
		},
		{
			name: "an old minute at the edge is read from the ledger", zone: "UTC", grain: calendar.Hour,
			start: "2026-09-01T10:07", end: "2026-09-01T12:00", minutesFrom: "2026-10-25T00:00",
			want: []string{
				"quarter 09-01T10:15..09-01T12:00",
				"ledger 09-01T10:07..09-01T10:15",
			},
		},
		{
			name: "where minutes begin the ledger ends", zone: "UTC", grain: calendar.Minute,
			start: "2026-10-25T11:58", end: "2026-10-25T12:17", minutesFrom: "2026-10-25T12:01",
			want: []string{
				"ledger 10-25T11:58..10-25T12:15",
				"minute 10-25T12:15..10-25T12:17",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			zone, err := calendar.LoadZone(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			edges, _ := calendar.Bars(schemas.NewInterval(instant(tt.start), instant(tt.end)), zone, tt.grain, 400)
			var minutesFrom time.Time
			if tt.minutesFrom != "" {
				minutesFrom = instant(tt.minutesFrom)
			}
			var got []string
			for _, read := range Plan(edges, minutesFrom, allSteps) {
				got = append(got, read.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("reads\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}
