package calendar

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/schemas"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func edgesOf(i schemas.Interval, zone *time.Location, grain Grain) []time.Time {
	return slices.Collect(Edges(i, zone, grain))
}

func drawInterval(t *rapid.T, zone *time.Location, longest time.Duration) schemas.Interval {
	start := drawInstant(t, zone, "start")
	minutes := rapid.Int64Range(1, int64(longest/time.Minute)).Draw(t, "minutes")
	return schemas.NewInterval(start, start.Add(time.Duration(minutes)*time.Minute))
}

func TestBarsTileTheirInterval(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		i := drawInterval(t, zone, 60*24*time.Hour)
		grain := rapid.SampledFrom(Grains[:]).Draw(t, "grain")
		edges := edgesOf(i, zone, grain)
		if len(edges) < 2 || !edges[0].Equal(i.Start) || !edges[len(edges)-1].Equal(i.End) {
			t.Fatalf("the %s bars of %s are %v", grain, i, edges)
		}
		for n := 1; n < len(edges); n++ {
			if !edges[n-1].Before(edges[n]) {
				t.Fatalf("bar %d of %s by %s is %s to %s", n-1, i, grain, edges[n-1], edges[n])
			}
			if edges[n].Location() != time.UTC {
				t.Fatalf("edge %s is not in UTC", edges[n])
			}
		}
	})
}

func TestCoarserBarsAreUnionsOfFinerOnes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		i := drawInterval(t, zone, 20*24*time.Hour)
		finer := edgesOf(i, zone, Grains[0])
		for _, grain := range Grains[1:] {
			edges := edgesOf(i, zone, grain)
			for _, edge := range edges {
				if _, found := slices.BinarySearchFunc(finer, edge, time.Time.Compare); !found {
					t.Fatalf("the %s edge %s of %s in %s is no edge of the grain below", grain, edge, i, zone)
				}
			}
			if grain != Week { // months are not made of weeks
				finer = edges
			}
		}
	})
}

// Wherever an interval begins and ends, the bars within it have the same edges.
func TestClippingMovesNoEdge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		whole := drawInterval(t, zone, 100*24*time.Hour)
		grain := rapid.SampledFrom(Grains[1:]).Draw(t, "grain")
		minutes := int64(whole.Duration() / time.Minute)
		from := rapid.Int64Range(0, minutes-1).Draw(t, "from")
		to := rapid.Int64Range(from+1, minutes).Draw(t, "to")
		part := schemas.NewInterval(
			whole.Start.Add(time.Duration(from)*time.Minute),
			whole.Start.Add(time.Duration(to)*time.Minute))
		want := []time.Time{part.Start}
		for _, edge := range edgesOf(whole, zone, grain) {
			if edge.After(part.Start) && edge.Before(part.End) {
				want = append(want, edge)
			}
		}
		want = append(want, part.End)
		if got := edgesOf(part, zone, grain); !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("the %s bars of %s within %s in %s are\n%v, want\n%v", grain, part, whole, zone, got, want)
		}
	})
}

// Edges found the slow way: minute by minute, an edge wherever the clocks show
// something of the grain that they had not shown before.
func TestEdgesAreWhereTheClocksTurn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		i := drawInterval(t, zone, 10*24*time.Hour)
		grain := rapid.SampledFrom([]Grain{Day, Week, Month}).Draw(t, "grain")
		label := func(at time.Time) int64 {
			year, month, day := at.In(zone).Date()
			date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
			switch grain {
			case Week:
				date = date.AddDate(0, 0, -(int(date.Weekday())+6)%7)
			case Month:
				date = date.AddDate(0, 0, 1-day)
			default:
			}
			return date.Unix()
		}
		want := []time.Time{i.Start}
		highest := label(i.Start.Add(-49 * time.Hour))
		for at := i.Start.Add(-49 * time.Hour); at.Before(i.End); at = at.Add(time.Minute) {
			if now := label(at); now > highest {
				highest = now
				if at.After(i.Start) {
					want = append(want, at)
				}
			}
		}
		want = append(want, i.End)
		if got := edgesOf(i, zone, grain); !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("the %s bars of %s in %s are\n%v, want\n%v", grain, i, zone, got, want)
		}
	})
}

func TestHoursAreAbsoluteAndBeginOnTheClocksFullHour(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		i := drawInterval(t, zone, 5*24*time.Hour)
		edges := edgesOf(i, zone, Hour)
		for n := 1; n < len(edges)-1; n++ {
			edge := edges[n]
			_, before := edge.Add(-time.Nanosecond).In(zone).Zone()
			_, after := edge.In(zone).Zone()
			fraction := (after-before)%3600 != 0
			if !fraction && (edge.Unix()+int64(after))%3600 != 0 {
				t.Fatalf("edge %s is no full hour in %s", edge.In(zone), zone)
			}
			if n+1 < len(edges)-1 && edges[n+1].Sub(edge) != time.Hour {
				_, end := edge.In(zone).ZoneBounds()
				start, _ := edge.In(zone).ZoneBounds()
				if !edges[n+1].Equal(end) && !edge.Equal(start) {
					t.Fatalf("bar %s to %s in %s is no hour and clocks do not change at either end", edge, edges[n+1], zone)
				}
			}
			if edges[n+1].Sub(edge) > time.Hour {
				t.Fatalf("bar %s to %s in %s is longer than an hour", edge, edges[n+1], zone)
			}
		}
	})
}

func TestOddDaysHaveABarForEachHourOfTheirClocks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, zone, day string
		bars            int
		first, last     string // starts of the first and last bar
	}{
		{"23 hours", "Europe/Copenhagen", "2026-03-29", 23, "2026-03-28T23:00:00Z", "2026-03-29T21:00:00Z"},
		{"25 hours", "Europe/Copenhagen", "2026-10-25", 25, "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z"},
		{"half-hour offset", "Asia/Kolkata", "2026-11-24", 24, "2026-11-23T18:30:00Z", "2026-11-24T17:30:00Z"},
		{"quarter-hour offset", "Asia/Kathmandu", "2026-11-24", 24, "2026-11-23T18:15:00Z", "2026-11-24T17:15:00Z"},
		{"half an hour less: one bar of half an hour", "Australia/Lord_Howe", "2026-10-04", 24, "2026-10-03T13:30:00Z", "2026-10-04T12:00:00Z"},
		{"half an hour more: one bar of half an hour", "Australia/Lord_Howe", "2026-04-05", 25, "2026-04-04T13:00:00Z", "2026-04-05T12:30:00Z"},
		{"clocks change in the middle of an hour", "Asia/Pyongyang", "2018-05-04", 24, "2018-05-03T15:30:00Z", "2018-05-04T14:30:00Z"},
		{"and the day after begins", "Asia/Pyongyang", "2018-05-05", 24, "2018-05-04T15:00:00Z", "2018-05-05T14:00:00Z"},
		{"the quarter of an hour that Nepal skipped", "Asia/Kathmandu", "1986-01-01", 24, "1985-12-31T18:30:00Z", "1986-01-01T17:15:00Z"},
		{"no midnight", "America/Santiago", "2026-09-06", 23, "2026-09-06T04:00:00Z", "2026-09-07T02:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			zone := zone(t, tt.zone)
			day, err := ParseDate(tt.day)
			if err != nil {
				t.Fatal(err)
			}
			r, err := DateRange(day, day, zone)
			if err != nil {
				t.Fatal(err)
			}
			edges := edgesOf(r.Interval, zone, Hour)
			if got := len(edges) - 1; got != tt.bars {
				t.Errorf("%d bars, want %d: %v", got, tt.bars, edges)
			}
			if got := edges[0].Format(time.RFC3339); got != tt.first {
				t.Errorf("first bar starts at %s, want %s", got, tt.first)
			}
			if got := edges[len(edges)-2].Format(time.RFC3339); got != tt.last {
				t.Errorf("last bar starts at %s, want %s", got, tt.last)
			}
		})
	}
}

func TestAnHourEndsWhereClocksChangeByAFractionOfIt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"Asia/Pyongyang": "2018-05-04T15:00:00Z", "Asia/Kathmandu": "1985-12-31T18:30:00Z", "America/Caracas": "2016-05-01T06:30:00Z"} {
		at := at(t, change)
		edges := edgesOf(schemas.NewInterval(at.Add(-26*time.Hour), at.Add(26*time.Hour)), zone(t, name), Hour)
		if !slices.ContainsFunc(edges, at.Equal) {
			t.Errorf("the change of %s is no edge: %v", name, edges)
		}
	}
}

func TestAMissingDayIsNoBar(t *testing.T) {
	t.Parallel()
	apia := zone(t, "Pacific/Apia")
	r, err := DateRange(Date{2011, 12, 28}, Date{2012, 1, 2}, apia)
	if err != nil {
		t.Fatal(err)
	}
	if edges := edgesOf(r.Interval, apia, Day); len(edges)-1 != 5 {
		t.Errorf("28 December to 2 January has %d bars, want 5: %v", len(edges)-1, edges)
	}
}

func TestBarsBeyondTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	day := schemas.NewInterval(at(t, "2026-11-24T00:00:00Z"), at(t, "2026-11-25T00:00:00Z"))
	if edges, ok := Bars(day, time.UTC, Hour, 24); !ok || len(edges) != 25 {
		t.Errorf("24 bars within a limit of 24: %d edges, %v", len(edges), ok)
	}
	if edges, ok := Bars(day, time.UTC, Hour, 23); ok {
		t.Errorf("24 bars within a limit of 23: %d edges", len(edges))
	}
	if edges, ok := Bars(schemas.NewInterval(day.Start, day.Start), time.UTC, Hour, 0); !ok || len(edges) != 0 {
		t.Errorf("no bars within a limit of 0: %d edges, %v", len(edges), ok)
	}
}

func TestBarAtIsTheBarOfALongInterval(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		at := drawInstant(t, zone, "instant")
		grain := rapid.SampledFrom(Grains[:]).Draw(t, "grain")
		around := 40 * 24 * time.Hour
		if grain == Minute || grain == Hour {
			around = 4 * time.Hour
		}
		edges := edgesOf(schemas.NewInterval(at.Add(-around), at.Add(around)), zone, grain)
		n, found := slices.BinarySearchFunc(edges, at, time.Time.Compare)
		if !found {
			n--
		}
		if got := BarAt(at, zone, grain); !got.Start.Equal(edges[n]) || !got.End.Equal(edges[n+1]) {
			t.Fatalf("the %s bar at %s in %s is %s, want %s to %s", grain, at, zone, got, edges[n], edges[n+1])
		}
	})
}

func TestAutoGrainFollowsTheClocksDays(t *testing.T) {
	t.Parallel()
	copenhagen := zone(t, "Europe/Copenhagen")
	days := func(from, to string) schemas.Interval {
		first, err := ParseDate(from)
		if err != nil {
			t.Fatal(err)
		}
		last, err := ParseDate(to)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DateRange(first, last, copenhagen)
		if err != nil {
			t.Fatal(err)
		}
		return r.Interval
	}
	hours := func(n int) schemas.Interval {
		start := at(t, "2026-11-24T09:00:00Z")
		return schemas.NewInterval(start, start.Add(time.Duration(n)*time.Hour))
	}
	tests := []struct {
		name string
		i    schemas.Interval
		want Grain
	}{
		{"a minute", schemas.NewInterval(at(t, "2026-11-24T09:00:00Z"), at(t, "2026-11-24T09:01:00Z")), Minute},
		{"two hours", hours(2), Minute},
		{"three hours", hours(3), Hour},
		{"one day", days("2026-11-24", "2026-11-24"), Hour},
		{"three days of 73 hours", days("2026-10-24", "2026-10-26"), Hour},
		{"73 hours", hours(73), Day},
		{"four days of 95 hours", days("2026-03-27", "2026-03-30"), Day},
		{"92 days", days("2026-08-25", "2026-11-24"), Day},
		{"93 days", days("2026-08-24", "2026-11-24"), Week},
		{"400 days", days("2025-10-21", "2026-11-24"), Week},
		{"401 days", days("2025-10-20", "2026-11-24"), Month},
	}
	for _, tt := range tests {
		if got := AutoGrain(tt.i, copenhagen); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
