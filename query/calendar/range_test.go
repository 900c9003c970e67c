package calendar

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/schemas"
)

func dateOf(t testing.TB, text string) Date {
	t.Helper()
	d, err := ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBillingPeriodsBeginOnTheirAnchor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		day         string
		anchor      int
		first, next string
	}{
		{"2026-11-24", 1, "2026-11-01", "2026-12-01"},
		{"2026-11-24", 24, "2026-11-24", "2026-12-24"},
		{"2026-11-24", 25, "2026-10-25", "2026-11-25"},
		{"2026-01-01", 15, "2025-12-15", "2026-01-15"},
		{"2026-02-27", 31, "2026-01-31", "2026-02-28"},
		{"2026-02-28", 31, "2026-02-28", "2026-03-31"},
		{"2026-03-30", 31, "2026-02-28", "2026-03-31"},
		{"2026-03-31", 31, "2026-03-31", "2026-04-30"},
		{"2024-02-28", 30, "2024-01-30", "2024-02-29"},
		{"2024-02-29", 30, "2024-02-29", "2024-03-30"},
		{"2024-02-29", 29, "2024-02-29", "2024-03-29"},
		{"2026-02-28", 29, "2026-02-28", "2026-03-29"},
		{"2026-12-31", 31, "2026-12-31", "2027-01-31"},
	}
	for _, tt := range tests {
		got := BillingPeriodOf(dateOf(t, tt.day), tt.anchor)
		if got.First.String() != tt.first || got.Next.String() != tt.next {
			t.Errorf("%s lies in %s to %s with anchor %d, want %s to %s", tt.day, got.First, got.Next, tt.anchor, tt.first, tt.next)
		}
	}
}

func TestBillingPeriodsFollowOneAnother(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		day := Date{2020, 1, 1}.AddDays(rapid.IntRange(0, 6000).Draw(t, "day"))
		period := BillingPeriodOf(day, rapid.IntRange(1, 31).Draw(t, "anchor"))
		if day.Compare(period.First) < 0 || day.Compare(period.Next) >= 0 {
			t.Fatalf("%s was put into %s to %s", day, period.First, period.Next)
		}
		n := rapid.IntRange(-30, 30).Draw(t, "n")
		shifted := period.Shift(n)
		if again := BillingPeriodOf(shifted.First, period.anchorDay); again != shifted {
			t.Fatalf("%d periods on is %v, but its first day lies in %v", n, shifted, again)
		}
		if next := shifted.Shift(1); next.First != shifted.Next {
			t.Fatalf("%v is followed by %v", shifted, next)
		}
	})
}

func TestPresetsFollowTheCalendarOfTheirZone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, now, zone string
		anchor          int
		preset          Preset
		from, to        string
		start, end      string
	}{
		{"the period is open to its end", "2026-11-24T12:00:00Z", "Europe/Copenhagen", 1, Period, "2026-11-01", "2026-11-30", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"},
		{"over the end of summer time", "2026-11-24T12:00:00Z", "Europe/Copenhagen", 1, PreviousPeriod, "2026-10-01", "2026-10-31", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"anchor on the 31st, in February", "2026-02-28T12:00:00Z", "UTC", 31, Period, "2026-02-28", "2026-03-30", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"anchor on the 31st, on the 31st", "2026-12-31T12:00:00Z", "UTC", 31, Period, "2026-12-31", "2027-01-30", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"},
		{"the period before a leap day's", "2024-02-29T12:00:00Z", "UTC", 29, PreviousPeriod, "2024-01-29", "2024-02-28", "2024-01-29T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"today is the zone's today", "2026-11-24T23:30:00Z", "Europe/Copenhagen", 1, Today, "2026-11-25", "2026-11-25", "2026-11-24T23:00:00Z", "2026-11-25T23:00:00Z"},
		{"today has 25 hours", "2026-10-25T12:00:00Z", "Europe/Copenhagen", 1, Today, "2026-10-25", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"yesterday on New Year's Day", "2026-01-01T12:00:00Z", "UTC", 1, Yesterday, "2025-12-31", "2025-12-31", "2025-12-31T00:00:00Z", "2026-01-01T00:00:00Z"},
		{"seven days", "2026-11-24T12:00:00Z", "UTC", 1, Last7Days, "2026-11-18", "2026-11-24", "2026-11-18T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"thirty days over a leap day", "2024-03-01T12:00:00Z", "UTC", 1, Last30Days, "2024-02-01", "2024-03-01", "2024-02-01T00:00:00Z", "2024-03-02T00:00:00Z"},
		{"ninety days", "2026-11-24T12:00:00Z", "UTC", 1, Last90Days, "2026-08-27", "2026-11-24", "2026-08-27T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"month to date on the first", "2026-01-01T12:00:00Z", "UTC", 1, MonthToDate, "2026-01-01", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		{"month to date on the 31st", "2026-12-31T12:00:00Z", "UTC", 1, MonthToDate, "2026-12-01", "2026-12-31", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"last month on 29 February", "2024-02-29T12:00:00Z", "UTC", 1, LastMonth, "2024-01-01", "2024-01-31", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"},
		{"last month on the 31st of March", "2026-03-31T12:00:00Z", "UTC", 1, LastMonth, "2026-02-01", "2026-02-28", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := PresetRange(tt.preset, at(t, tt.now), zone(t, tt.zone), tt.anchor)
			if err != nil {
				t.Fatal(err)
			}
			if r.From.String() != tt.from || r.To.String() != tt.to {
				t.Errorf("%s to %s, want %s to %s", r.From, r.To, tt.from, tt.to)
			}
			if start, end := r.Start.Format(time.RFC3339), r.End.Format(time.RFC3339); start != tt.start || end != tt.end {
				t.Errorf("%s to %s, want %s to %s", start, end, tt.start, tt.end)
			}
			if r.Preset != tt.preset {
				t.Errorf("preset %q, want %q", r.Preset, tt.preset)
			}
		})
	}
	if _, err := PresetRange("fortnight", at(t, "2026-11-24T12:00:00Z"), time.UTC, 1); !errors.Is(err, ErrPreset) {
		t.Errorf("an unknown preset: %v, want ErrPreset", err)
	}
}

func TestEveryPresetHoldsWhatItsNameSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		now := drawInstant(t, zone, "now")
		anchor := rapid.IntRange(1, 31).Draw(t, "anchor")
		for _, preset := range Presets {
			r, err := PresetRange(preset, now, zone, anchor)
			if errors.Is(err, ErrEmpty) && preset == Yesterday {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", preset, err)
			}
			switch preset {
			case PreviousPeriod, Yesterday, LastMonth:
				if r.End.After(now) {
					t.Fatalf("%s is still open at %s: %s", preset, now, r)
				}
			default:
				if !r.Contains(now) {
					t.Fatalf("%s does not hold %s: %s", preset, now, r)
				}
			}
		}
	})
}

func TestRangesThatCannotBeHadAreRefused(t *testing.T) {
	t.Parallel()
	apia := zone(t, "Pacific/Apia")
	noon := at(t, "2026-11-24T12:00:00Z")
	tests := []struct {
		name string
		got  func() (Range, error)
		want error
	}{
		{"end date first", func() (Range, error) { return DateRange(Date{2026, 11, 24}, Date{2026, 11, 23}, time.UTC) }, ErrEndFirst},
		{"a day that the zone left out", func() (Range, error) { return DateRange(Date{2011, 12, 30}, Date{2011, 12, 30}, apia) }, ErrEmpty},
		{"dates before all events", func() (Range, error) { return DateRange(Date{1969, 12, 31}, Date{2026, 11, 23}, time.UTC) }, ErrOutside},
		{"dates after all events", func() (Range, error) { return DateRange(Date{2026, 12, 31}, Date{2106, 1, 1}, time.UTC) }, ErrOutside},
		{"end first", func() (Range, error) { return InstantRange(noon, noon.Add(-time.Minute), time.UTC) }, ErrEndFirst},
		{"nothing between", func() (Range, error) { return InstantRange(noon, noon, time.UTC) }, ErrEmpty},
		{"seconds in the start", func() (Range, error) { return InstantRange(noon.Add(time.Second), noon.Add(time.Hour), time.UTC) }, ErrWholeMinute},
		{"nanoseconds in the end", func() (Range, error) { return InstantRange(noon, noon.Add(time.Hour+1), time.UTC) }, ErrWholeMinute},
		{"before all events", func() (Range, error) {
			return InstantRange(schemas.MinOccurredAt.Add(-time.Minute), noon, time.UTC)
		}, ErrOutside},
	}
	for _, tt := range tests {
		if r, err := tt.got(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, r, err, tt.want)
		}
	}
}

func TestComparisonsAreWithAsMuchAsHasPassed(t *testing.T) {
	t.Parallel()
	const now = "2026-11-24T12:34:56Z"
	preset := func(p Preset, zoneName string, anchor int, now string) func(testing.TB) Range {
		return func(t testing.TB) Range {
			r, err := PresetRange(p, at(t, now), zone(t, zoneName), anchor)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	dates := func(from, to, zoneName string) func(testing.TB) Range {
		return func(t testing.TB) Range {
			r, err := DateRange(dateOf(t, from), dateOf(t, to), zone(t, zoneName))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	instants := func(start, end, zoneName string) func(testing.TB) Range {
		return func(t testing.TB) Range {
			r, err := InstantRange(at(t, start), at(t, end), zone(t, zoneName))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	tests := []struct {
		name       string
		r          func(testing.TB) Range
		comparison Comparison
		now        string
		start, end string
	}{
		{"days with as many days", dates("2026-11-01", "2026-11-10", "UTC"), Previous, now, "2026-10-22T00:00:00Z", "2026-11-01T00:00:00Z"},
		{"days over the end of summer time", dates("2026-10-26", "2026-10-27", "Europe/Copenhagen"), Previous, now, "2026-10-23T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"an open day with the same elapsed time", preset(Today, "UTC", 1, now), Previous, now, "2026-11-23T00:00:00Z", "2026-11-23T12:34:00Z"},
		{"a closed day with all of the day before", preset(Yesterday, "UTC", 1, now), Previous, now, "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"a 25-hour day, at its end, with no more than the day before", preset(Today, "Europe/Copenhagen", 1, "2026-10-25T22:30:00Z"), Previous, "2026-10-25T22:30:00Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z"},
		{"an open period with the period before", preset(Period, "UTC", 31, now), Previous, now, "2026-09-30T00:00:00Z", "2026-10-24T12:34:00Z"},
		{"a closed period with the shorter one before", preset(PreviousPeriod, "UTC", 1, "2026-03-10T00:00:00Z"), Previous, "2026-03-10T00:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"a period with the period a year before", preset(PreviousPeriod, "UTC", 31, "2024-03-31T00:00:00Z"), YearOverYear, "2024-03-31T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-31T00:00:00Z"},
		{"the month to date with as many days", preset(MonthToDate, "UTC", 1, now), Previous, now, "2026-10-08T00:00:00Z", "2026-10-31T12:34:00Z"},
		{"a week with the week before", preset(Last7Days, "UTC", 1, now), PreviousByWeekday, now, "2026-11-11T00:00:00Z", "2026-11-17T12:34:00Z"},
		{"thirty days by weekday go back 35", dates("2026-10-01", "2026-10-30", "UTC"), PreviousByWeekday, now, "2026-08-27T00:00:00Z", "2026-09-26T00:00:00Z"},
		{"a period by weekday goes back 35 days too", preset(PreviousPeriod, "UTC", 1, now), PreviousByWeekday, now, "2026-08-27T00:00:00Z", "2026-09-27T00:00:00Z"},
		{"a year before", dates("2026-11-01", "2026-11-10", "UTC"), YearOverYear, now, "2025-11-01T00:00:00Z", "2025-11-11T00:00:00Z"},
		{"28 February before a leap day", dates("2024-02-28", "2024-02-28", "UTC"), YearOverYear, now, "2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z"},
		{"29 February", dates("2024-02-29", "2024-02-29", "UTC"), YearOverYear, now, "2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z"},
		{"hours with the hours before", instants("2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z", "UTC"), Previous, now, "2026-11-20T08:00:00Z", "2026-11-20T10:00:00Z"},
		{"hours with the hours of the same weekday", instants("2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z", "UTC"), PreviousByWeekday, now, "2026-11-13T10:00:00Z", "2026-11-13T12:00:00Z"},
		{"hours by weekday at the same time of day", instants("2026-10-27T09:00:00Z", "2026-10-27T11:00:00Z", "Europe/Copenhagen"), PreviousByWeekday, now, "2026-10-20T08:00:00Z", "2026-10-20T10:00:00Z"},
		{"hours with those a year before", instants("2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z", "UTC"), YearOverYear, now, "2025-11-20T10:00:00Z", "2025-11-20T12:00:00Z"},
		{"hours over a leap day keep their length", instants("2024-02-28T12:00:00Z", "2024-02-29T06:00:00Z", "UTC"), YearOverYear, now, "2023-02-28T12:00:00Z", "2023-03-01T06:00:00Z"},
		{"instants that are whole days are days", instants("2026-10-25T23:00:00Z", "2026-10-27T23:00:00Z", "Europe/Copenhagen"), Previous, now, "2026-10-23T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"a minute that clocks show twice with that of a week before", instants("2026-04-05T02:59:00Z", "2026-04-05T03:00:00Z", "America/Santiago"), PreviousByWeekday, now, "2026-03-29T02:59:00Z", "2026-03-29T03:00:00Z"},
		{"the first minute of a day", preset(Today, "UTC", 1, "2026-11-24T00:00:30Z"), Previous, "2026-11-24T00:00:30Z", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			other, ok := tt.r(t).ComparedWith(tt.comparison, at(t, tt.now))
			if !ok {
				t.Fatal("not comparable")
			}
			if start, end := other.Start.Format(time.RFC3339), other.End.Format(time.RFC3339); start != tt.start || end != tt.end {
				t.Errorf("compared with %s to %s, want %s to %s", start, end, tt.start, tt.end)
			}
		})
	}
}

func TestNothingIsComparedWithoutAnElapsedPart(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-24T12:00:00Z")
	future, err := DateRange(Date{2026, 12, 1}, Date{2026, 12, 31}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if other, ok := future.ComparedWith(Previous, now); ok {
		t.Errorf("a range to come is compared with %s", other)
	}
	past, err := DateRange(Date{2026, 10, 1}, Date{2026, 10, 31}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if other, ok := past.ComparedWith(NoComparison, now); ok {
		t.Errorf("no comparison gives %s", other)
	}
	after, err := DateRange(Date{2011, 12, 31}, Date{2011, 12, 31}, zone(t, "Pacific/Apia"))
	if err != nil {
		t.Fatal(err)
	}
	if other, ok := after.ComparedWith(Previous, now); ok {
		t.Errorf("the day after the one left out is compared with %s", other)
	}
}

// What a range is compared with lies before it, is never longer than what has
// passed of it plus what clocks were put back and months differ, and keeps
// weekdays where it says so.
func TestComparisonsLieBeforeTheRange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		now := drawInstant(t, zone, "now")
		var r Range
		var err error
		if rapid.Bool().Draw(t, "preset") {
			r, err = PresetRange(rapid.SampledFrom(Presets[:]).Draw(t, "which"), now, zone, rapid.IntRange(1, 31).Draw(t, "anchor"))
		} else {
			i := drawInterval(t, zone, 100*24*time.Hour)
			r, err = InstantRange(i.Start, i.End, zone)
		}
		if err != nil {
			t.Skip(err)
		}
		for _, comparison := range Comparisons[1:] {
			other, ok := r.ComparedWith(comparison, now)
			leftOut := zone.String() == "Pacific/Apia" || zone.String() == "Pacific/Fakaofo"
			if ok != r.Start.Before(now) && !leftOut {
				t.Fatalf("%s by %s at %s: comparable %v", r, comparison, now, ok)
			}
			if !ok {
				continue
			}
			if other.End.Before(other.Start) || !other.Start.Before(r.Start) {
				t.Fatalf("%s by %s is compared with %s", r, comparison, other)
			}
			if comparison != YearOverYear && other.End.After(r.Start) {
				t.Fatalf("%s by %s is compared with %s, which it overlaps", r, comparison, other)
			}
			if r.OpenAt(now) && other.Duration() > now.Sub(r.Start) {
				t.Fatalf("%s by %s at %s is compared with %s, more than has passed of it", r, comparison, now, other)
			}
			if comparison == PreviousByWeekday && r.wholeDays {
				if got, want := DayOf(other.Start, zone).Weekday(), r.From.Weekday(); got != want && !leftOut {
					t.Fatalf("%s, a %s, is compared by weekday with %s, a %s", r, want, other, got)
				}
			}
		}
	})
}
