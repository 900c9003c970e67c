package calendar

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

const secondsPerDay = 24 * 60 * 60

// ErrDate means that a text is not a date of the calendar.
var ErrDate = errors.New(`not a date; write it like "2026-11-24"`)

// Date is a day of the Gregorian calendar, in no particular zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads a date such as 2026-11-24.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, ErrDate
	}
	return dateOfWall(t.Unix()), nil
}

func dateOfWall(wall int64) Date {
	year, month, day := time.Unix(wall, 0).UTC().Date()
	return Date{Year: year, Month: month, Day: day}
}

// wall is the clock reading at the date's midnight.
func (d Date) wall() int64 {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Unix()
}

// DayOf returns the day that t belongs to: the last one that has started. That
// is the date on the zone's clocks, but for the clocks that were once put back
// over midnight and showed the past date again: a day that has started does
// not end before the next one starts.
func DayOf(t time.Time, zone *time.Location) Date {
	day := dateOfWall(wallOf(t, zone))
	for next := day.AddDays(1); !next.Start(zone).After(t); next = day.AddDays(1) {
		day = next
	}
	return day
}

// Start returns the day's first instant in the zone. That is midnight, or the
// first instant that exists where clocks skip midnight, or, for a day that a
// zone left out altogether, the start of the day after.
func (d Date) Start(zone *time.Location) time.Time { return firstInstant(d.wall(), zone) }

// AddDays returns the date n days later.
func (d Date) AddDays(n int) Date { return dateOfWall(d.wall() + int64(n)*secondsPerDay) }

// AddMonths returns the same day n months later, or the month's last day where
// the month is shorter.
func (d Date) AddMonths(n int) Date { return monthDay(d.Year, int(d.Month)+n, d.Day) }

// monthDay returns the day of a month, or the month's last if it is shorter.
// Months below 1 and above 12 lie in other years.
func monthDay(year, month, day int) Date {
	first := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return Date{Year: first.Year(), Month: first.Month(), Day: min(day, last)}
}

// firstOfMonth returns the first day of the date's month.
func (d Date) firstOfMonth() Date { return Date{Year: d.Year, Month: d.Month, Day: 1} }

// Weekday returns the day of the week.
func (d Date) Weekday() time.Weekday {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Weekday()
}

// monday returns the first day of the date's ISO week.
func (d Date) monday() Date { return d.AddDays(-(int(d.Weekday()+6) % 7)) }

// DaysSince returns how many days after other the date is.
func (d Date) DaysSince(other Date) int { return int((d.wall() - other.wall()) / secondsPerDay) }

// Compare orders dates as cmp.Compare orders numbers.
func (d Date) Compare(other Date) int { return cmp.Compare(d.wall(), other.wall()) }

// String formats the date as ParseDate reads it.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }
