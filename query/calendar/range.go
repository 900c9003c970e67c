package calendar

import (
	"errors"
	"time"

	"agentmeter/schemas"
)

// Preset names a range that moves with the calendar.
type Preset string

// The presets.
const (
	Period         Preset = "period"
	PreviousPeriod Preset = "previous_period"
	Today          Preset = "today"
	Yesterday      Preset = "yesterday"
	Last7Days      Preset = "7d"
	Last30Days     Preset = "30d"
	Last90Days     Preset = "90d"
	MonthToDate    Preset = "mtd"
	LastMonth      Preset = "last_month"
)

// Presets lists the presets in the order in which people are offered them.
var Presets = [...]Preset{
	Period, PreviousPeriod, Today, Yesterday, Last7Days, Last30Days, Last90Days, MonthToDate, LastMonth,
}

// Why a range cannot be had.
var (
	ErrPreset      = errors.New("unknown preset")
	ErrEndFirst    = errors.New("end is before start")
	ErrEmpty       = errors.New("no instant lies in the range")
	ErrWholeMinute = errors.New("not a whole minute")
	ErrOutside     = errors.New("outside the years that are kept")
)

// Range is a span of time that figures are asked for.
type Range struct {
	schemas.Interval
	Zone   *time.Location
	Preset Preset // "" if it was given as dates or instants
	From   Date   // the day that its first instant belongs to
	To     Date   // the day that its last instant belongs to, inclusive

	wholeDays bool           // Interval runs from From's start to the end of To
	billing   *BillingPeriod // set if it was asked for as a billing period
}

// PresetRange resolves a preset at an instant, for a workspace whose billing
// periods begin on anchorDay, as BillingPeriodOf takes it. Every preset but
// previous_period, yesterday and last_month is open: it ends with today, or with
// the billing period.
func PresetRange(preset Preset, now time.Time, zone *time.Location, anchorDay int) (Range, error) {
	today := DayOf(now, zone)
	var (
		from, to Date
		billing  *BillingPeriod
	)
	switch preset {
	case Period, PreviousPeriod:
		period := BillingPeriodOf(today, anchorDay)
		if preset == PreviousPeriod {
			period = period.Shift(-1)
		}
		from, to, billing = period.First, period.Next.AddDays(-1), &period
	case Today:
		from, to = today, today
	case Yesterday:
		from, to = today.AddDays(-1), today.AddDays(-1)
	case Last7Days:
		from, to = today.AddDays(-6), today
	case Last30Days:
		from, to = today.AddDays(-29), today
	case Last90Days:
		from, to = today.AddDays(-89), today
	case MonthToDate:
		from, to = today.firstOfMonth(), today
	case LastMonth:
		to = today.firstOfMonth().AddDays(-1)
		from = to.firstOfMonth()
	default:
		return Range{}, ErrPreset
	}
	r := daysRange(from, to, zone)
	r.Preset, r.billing = preset, billing
	if r.Empty() {
		// Yesterday, the day after a zone left a day out.
		return Range{}, ErrEmpty
	}
	return r, nil
}

// DateRange resolves two dates, both inclusive.
func DateRange(from, to Date, zone *time.Location) (Range, error) {
	if to.Compare(from) < 0 {
		return Range{}, ErrEndFirst
	}
	if outside(from) || outside(to) {
		return Range{}, ErrOutside
	}
	r := daysRange(from, to, zone)
	if r.Empty() {
		return Range{}, ErrEmpty
	}
	return r, nil
}

func outside(d Date) bool {
	return d.Year < schemas.MinOccurredAt.Year() || d.Year >= schemas.MaxOccurredAt.Year()
}

// InstantRange resolves two instants on whole minutes, half-open.
func InstantRange(start, end time.Time, zone *time.Location) (Range, error) {
	if !schemas.StepMinute.Aligned(start) || !schemas.StepMinute.Aligned(end) {
		return Range{}, ErrWholeMinute
	}
	if end.Before(start) {
		return Range{}, ErrEndFirst
	}
	if !start.Before(end) {
		return Range{}, ErrEmpty
	}
	if start.Before(schemas.MinOccurredAt) || end.After(schemas.MaxOccurredAt) {
		return Range{}, ErrOutside
	}
	r := Range{
		Interval: schemas.NewInterval(start, end),
		Zone:     zone,
		From:     DayOf(start, zone),
		To:       DayOf(end.Add(-1), zone),
	}
	r.wholeDays = r.From.Start(zone).Equal(start) && r.To.AddDays(1).Start(zone).Equal(end)
	return r, nil
}

func daysRange(from, to Date, zone *time.Location) Range {
	return Range{
		Interval:  schemas.NewInterval(from.Start(zone), to.AddDays(1).Start(zone)),
		Zone:      zone,
		From:      from,
		To:        to,
		wholeDays: true,
	}
}

// OpenAt reports whether the range still has instants to come.
func (r Range) OpenAt(now time.Time) bool { return now.Before(r.End) }
