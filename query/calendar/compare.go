package calendar

import (
	"time"

	"agentmeter/schemas"
)

// Comparison names what a range is compared with.
type Comparison string

// The comparisons.
const (
	NoComparison      Comparison = "none"
	Previous          Comparison = "prev"     // as many days, right before
	PreviousByWeekday Comparison = "prev_dow" // the latest earlier days with the same weekdays
	YearOverYear      Comparison = "yoy"      // the same dates a year before
)

// Comparisons lists the comparisons in the order in which people are offered them.
var Comparisons = [...]Comparison{NoComparison, Previous, PreviousByWeekday, YearOverYear}

// ComparedWith returns what the range is compared with at an instant. A billing
// period is compared with a billing period, whole days with whole days, and
// any other range with one as long, at the same times of day.
//
// A range that is still open is compared with as much of the other as has
// passed of it, to the whole minute. There is nothing to compare a range with
// that has not begun, or the day after one that the zone left out; then ok is
// false.
func (r Range) ComparedWith(comparison Comparison, now time.Time) (other schemas.Interval, ok bool) {
	switch comparison {
	case Previous, PreviousByWeekday, YearOverYear:
	default:
		return schemas.Interval{}, false
	}
	if !r.Start.Before(now) {
		return schemas.Interval{}, false
	}
	if r.wholeDays {
		other = r.comparedDays(comparison)
	} else {
		other = r.comparedInstants(comparison)
	}
	if other.Empty() {
		return schemas.Interval{}, false
	}
	if r.OpenAt(now) {
		elapsed := now.Sub(r.Start)
		cut := schemas.StepMinute.Floor(other.Start.Add(elapsed))
		if cut.Before(other.Start) { // a zone whose days do not start on a whole minute
			cut = other.Start
		}
		if cut.Before(other.End) {
			other.End = cut
		}
	}
	return other, true
}

func (r Range) comparedDays(comparison Comparison) schemas.Interval {
	from, next := r.From, r.To.AddDays(1)
	days := next.DaysSince(from)
	switch {
	case comparison == PreviousByWeekday:
		shift := (days + 6) / 7 * 7
		from, next = from.AddDays(-shift), next.AddDays(-shift)
	case r.billing != nil && comparison == Previous:
		period := r.billing.Shift(-1)
		from, next = period.First, period.Next
	case r.billing != nil:
		period := r.billing.Shift(-12)
		from, next = period.First, period.Next
	case comparison == Previous:
		from, next = from.AddDays(-days), from
	default:
		// The last day is shifted, not the day after it: a 28 February must
		// not lose itself to the day after, the 29th.
		from, next = from.AddMonths(-12), r.To.AddMonths(-12).AddDays(1)
	}
	return schemas.NewInterval(from.Start(r.Zone), next.Start(r.Zone))
}

func (r Range) comparedInstants(comparison Comparison) schemas.Interval {
	duration := r.Duration()
	if comparison == Previous {
		return schemas.NewInterval(r.Start.Add(-duration), r.Start)
	}
	shifted := func(t time.Time) time.Time {
		wall := wallOf(t, r.Zone)
		if comparison == YearOverYear {
			day := dateOfWall(wall)
			wall += day.AddMonths(-12).wall() - day.wall()
		} else {
			// At least a week: where clocks are put back they may advance by nothing.
			wall -= max(1, (wallDays(r.Interval, r.Zone)+6)/7) * 7 * secondsPerDay
		}
		return firstInstant(wall, r.Zone)
	}
	other := schemas.NewInterval(shifted(r.Start), shifted(r.End))
	if other.Empty() {
		// 29 February is one date with the 28th a year before, and the repeated
		// hour one with the hour before it.
		other.End = other.Start.Add(duration)
	}
	return other
}

// ComparedBars returns the edges of what bars are compared with, within the
// interval that their range is compared with: bar by bar, and together all of it.
//
// Minutes, hours and days are paired one by one. Weeks and months are not those of
// the other interval's own calendar, since the range may begin in the middle of
// one and the other not: each bar is compared with the same days counted from the
// beginning, or with the same dates of the year before. What is left of the other
// interval, where it is longer, belongs to the last bar; where it is shorter or
// still open, the last bars have nothing to be compared with.
func ComparedBars(bars []time.Time, other schemas.Interval, zone *time.Location, grain Grain, comparison Comparison) (edges []time.Time) {
	if grain != Week && grain != Month || len(bars) < 2 {
		for edge := range Edges(other, zone, grain) {
			edges = append(edges, edge)
		}
		return edges
	}
	edges = append(edges, other.Start)
	first, base := DayOf(bars[0], zone), DayOf(other.Start, zone)
	for _, bar := range bars[1 : len(bars)-1] {
		day := DayOf(bar, zone)
		if comparison == YearOverYear {
			day = day.AddMonths(-12)
		} else {
			day = base.AddDays(day.DaysSince(first))
		}
		edge := day.Start(zone)
		if !edge.Before(other.End) {
			break
		}
		edges = append(edges, edge)
	}
	return append(edges, other.End)
}
