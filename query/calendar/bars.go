package calendar

import (
	"iter"
	"time"

	"agentmeter/schemas"
)

// Grain is the length of a bar.
type Grain string

// The grains, from the finest to the coarsest.
const (
	Minute Grain = "minute"
	Hour   Grain = "hour"
	Day    Grain = "day"
	Week   Grain = "week"
	Month  Grain = "month"
)

// Grains lists the grains from the finest to the coarsest.
var Grains = [...]Grain{Minute, Hour, Day, Week, Month}

// AutoGrain picks the grain that shows an interval well: hours up to three
// days, days up to 92, weeks up to 400, then months; and minutes under three
// hours. Days are counted on the zone's clocks, so that three days are three
// days when one of them has 25 hours.
func AutoGrain(i schemas.Interval, zone *time.Location) Grain {
	if i.Duration() < 3*time.Hour {
		return Minute
	}
	switch days := wallDays(i, zone); {
	case days <= 3:
		return Hour
	case days <= 92:
		return Day
	case days <= 400:
		return Week
	default:
		return Month
	}
}

// wallDays is how many days the zone's clocks advance over the interval, a
// begun day counting as one.
func wallDays(i schemas.Interval, zone *time.Location) int64 {
	return (wallOf(i.End, zone) - wallOf(i.Start, zone) + secondsPerDay - 1) / secondsPerDay
}

// Edges yields where the bars of an interval begin, in order, and at last where
// the final bar ends; so n bars have n+1 edges. The first edge is the
// interval's start and the last its end, wherever in a minute, hour, day, week
// or month they lie. An empty interval has no bars and yields nothing.
//
// Minutes are minutes of UTC. Hours are absolute hours that begin when the
// zone's clocks show a full hour; where clocks change by a fraction of an hour,
// the bar at the change is as much shorter. A day begins at Date.Start, a week
// on Monday, a month on its first.
func Edges(i schemas.Interval, zone *time.Location, grain Grain) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		if i.Empty() {
			return
		}
		next := nextEdge(zone, grain)
		for edge := i.Start.UTC(); edge.Before(i.End); edge = next(edge) {
			if !yield(edge) {
				return
			}
		}
		yield(i.End.UTC())
	}
}

// Bars collects the edges of an interval unless it has more than limit bars.
func Bars(i schemas.Interval, zone *time.Location, grain Grain, limit int) (edges []time.Time, ok bool) {
	for edge := range Edges(i, zone, grain) {
		if len(edges) > limit {
			return nil, false
		}
		edges = append(edges, edge)
	}
	return edges, true
}

// BarAt returns the whole bar of the grain that t lies in, clipped to nothing.
func BarAt(t time.Time, zone *time.Location, grain Grain) schemas.Interval {
	start := barStart(t, zone, grain)
	return schemas.Interval{Start: start, End: nextEdge(zone, grain)(start)}
}

func barStart(t time.Time, zone *time.Location, grain Grain) time.Time {
	switch grain {
	case Minute:
		return schemas.StepMinute.Floor(t)
	case Hour:
		// Two hours back there is an edge; walk on from it.
		next := nextEdge(zone, Hour)
		start := next(t.Add(-2 * time.Hour))
		for following := next(start); !following.After(t); following = next(start) {
			start = following
		}
		return start
	case Week:
		return DayOf(t, zone).monday().Start(zone)
	case Month:
		return DayOf(t, zone).firstOfMonth().Start(zone)
	default:
		return DayOf(t, zone).Start(zone)
	}
}

// nextEdge returns the function that finds the first bar edge after an instant.
func nextEdge(zone *time.Location, grain Grain) func(time.Time) time.Time {
	switch grain {
	case Minute:
		return func(t time.Time) time.Time {
			return schemas.StepMinute.Floor(t).Add(time.Minute)
		}
	case Hour:
		return hourEdges(zone)
	case Week:
		return func(t time.Time) time.Time {
			return startAfter(t, DayOf(t, zone).monday().AddDays(7), 7, zone)
		}
	case Month:
		return func(t time.Time) time.Time {
			return DayOf(t, zone).firstOfMonth().AddMonths(1).Start(zone)
		}
	default:
		return func(t time.Time) time.Time {
			return startAfter(t, DayOf(t, zone).AddDays(1), 1, zone)
		}
	}
}

// startAfter returns the start of day, or of the first of the days that follow
// it by step which starts after t: a day that a zone left out is no bar.
func startAfter(t time.Time, day Date, step int, zone *time.Location) time.Time {
	for {
		if start := day.Start(zone); start.After(t) {
			return start
		}
		day = day.AddDays(step)
	}
}

// hourEdges walks hours, looking the zone's offset up once for each stretch of
// time in which it stays the same.
func hourEdges(zone *time.Location) func(time.Time) time.Time {
	const hour = 60 * 60
	var (
		offset   int64
		from, to time.Time // offset holds in between
		ever     bool      // and for ever
		known    bool
	)
	return func(t time.Time) time.Time {
		if !known || t.Before(from) || (!ever && !t.Before(to)) {
			offset, from, known = offsetOf(t, zone), t, true
			to, ever = offsetHolds(t, zone)
		}
		past := (t.Unix() + offset) % hour
		if past < 0 {
			past += hour
		}
		edge := time.Unix(t.Unix()+hour-past, 0).UTC()
		if !ever && edge.After(to) && (offsetOf(to, zone)-offset)%hour != 0 {
			// Clocks change by a fraction of an hour before the full hour comes:
			// the change itself is where the next hour begins.
			return to.UTC()
		}
		return edge
	}
}
