package calendar

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/schemas"
)

// oddZones are zones in which something is unusual: fractional offsets,
// fractional changes, changes at midnight, a day left out, changes of the
// standard offset, no changes at all.
var oddZones = []string{
	"UTC", "Europe/Copenhagen", "Europe/London", "Europe/Dublin", "Europe/Moscow",
	"America/New_York", "America/Los_Angeles", "America/St_Johns", "America/Santiago",
	"America/Asuncion", "America/Sao_Paulo", "America/Havana", "America/Caracas",
	"America/Scoresbysund", "America/Nuuk", "America/Goose_Bay",
	"Africa/Cairo", "Africa/Casablanca", "Africa/Monrovia", "Africa/Juba",
	"Asia/Beirut", "Asia/Amman", "Asia/Gaza", "Asia/Tehran", "Asia/Kabul", "Asia/Kathmandu",
	"Asia/Kolkata", "Asia/Dhaka", "Asia/Pyongyang", "Asia/Damascus",
	"Australia/Lord_Howe", "Australia/Eucla", "Australia/Adelaide", "Antarctica/Troll", "Antarctica/Casey",
	"Pacific/Apia", "Pacific/Fakaofo", "Pacific/Chatham", "Pacific/Marquesas", "Pacific/Kiritimati",
	"Pacific/Norfolk", "Pacific/Easter", "Etc/GMT+12", "Etc/GMT-14",
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loaded, err := LoadZone(name)
	if err != nil {
		t.Fatalf("LoadZone(%q): %v", name, err)
	}
	return loaded
}

func drawZone(t *rapid.T) *time.Location {
	name := rapid.SampledFrom(oddZones).Draw(t, "zone")
	loaded, err := LoadZone(name)
	if err != nil {
		t.Fatalf("LoadZone(%q): %v", name, err)
	}
	return loaded
}

// drawInstant draws an instant of the years in which figures can lie, often
// near a change of the zone's clocks.
func drawInstant(t *rapid.T, zone *time.Location, label string) time.Time {
	unix := rapid.Int64Range(
		time.Date(1972, 2, 1, 0, 0, 0, 0, time.UTC).Unix(),
		time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC).Unix()).Draw(t, label)
	at := time.Unix(unix, 0).UTC()
	if rapid.Bool().Draw(t, label+" near a change") {
		if _, end := at.In(zone).ZoneBounds(); !end.IsZero() {
			at = end.Add(time.Duration(rapid.Int64Range(-36*60, 36*60).Draw(t, label+" minutes from it")) * time.Minute).UTC()
		}
	}
	return at.Truncate(time.Minute)
}

func TestOnlyZonesOfTheDatabaseAreTaken(t *testing.T) {
	t.Parallel()
	for _, name := range oddZones {
		if loaded := zone(t, name); loaded.String() != name {
			t.Errorf("LoadZone(%q) is called %q", name, loaded)
		}
	}
	for _, name := range []string{
		"", "Local", "localtime", "posixrules", "right/Europe/Copenhagen", "posix/Europe/Copenhagen",
		"Europe/Atlantis", "+01:00", "../../etc/passwd", "/etc/localtime", "Europe", "zone.tab", "Europe/Copenhagen\x00",
	} {
		if loaded, err := LoadZone(name); !errors.Is(err, schemas.ErrZone) {
			t.Errorf("LoadZone(%q) = %v, %v; want ErrZone", name, loaded, err)
		}
	}
}

func TestDaysStartAtTheirFirstInstant(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, zone, day, start string
		length                 time.Duration
	}{
		{"plain", "UTC", "2026-11-24", "2026-11-24T00:00:00Z", 24 * time.Hour},
		{"23 hours", "Europe/Copenhagen", "2026-03-29", "2026-03-28T23:00:00Z", 23 * time.Hour},
		{"25 hours", "Europe/Copenhagen", "2026-10-25", "2026-10-24T22:00:00Z", 25 * time.Hour},
		{"five hours and three quarters ahead", "Asia/Kathmandu", "2026-11-24", "2026-11-23T18:15:00Z", 24 * time.Hour},
		{"the day Nepal changed its offset", "Asia/Kathmandu", "1986-01-01", "1985-12-31T18:30:00Z", 23*time.Hour + 45*time.Minute},
		{"five hours and a half ahead", "Asia/Kolkata", "2026-11-24", "2026-11-23T18:30:00Z", 24 * time.Hour},
		{"thirteen hours and three quarters ahead", "Pacific/Chatham", "2026-01-02", "2026-01-01T10:15:00Z", 24 * time.Hour},
		{"Chatham's long day", "Pacific/Chatham", "2026-04-05", "2026-04-04T10:15:00Z", 25 * time.Hour},
		{"no midnight: starts at one", "America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z", 23 * time.Hour},
		{"the hour before midnight twice", "America/Santiago", "2026-04-04", "2026-04-04T03:00:00Z", 25 * time.Hour},
		{"and the day after it", "America/Santiago", "2026-04-05", "2026-04-05T04:00:00Z", 24 * time.Hour},
		{"Cairo skips midnight", "Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", 23 * time.Hour},
		{"Beirut skips midnight", "Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00Z", 23 * time.Hour},
		{"midnight twice", "America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", 25 * time.Hour},
		{"half an hour less", "Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30:00Z", 23*time.Hour + 30*time.Minute},
		{"half an hour more", "Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00Z", 24*time.Hour + 30*time.Minute},
		{"the day before the one left out", "Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z", 24 * time.Hour},
		{"the day left out", "Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", 0},
		{"the day after it", "Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", 24 * time.Hour},
		{"three hours and a half behind", "America/St_Johns", "2026-11-24", "2026-11-24T03:30:00Z", 24 * time.Hour},
		{"clocks put back over midnight: the day that had begun goes on", "America/St_Johns", "2006-10-29", "2006-10-29T02:30:00Z", 25 * time.Hour},
		{"and the day before it is not longer", "America/St_Johns", "2006-10-28", "2006-10-28T02:30:00Z", 24 * time.Hour},
		{"Pyongyang's short day", "Asia/Pyongyang", "2018-05-04", "2018-05-03T15:30:00Z", 23*time.Hour + 30*time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			zone := zone(t, tt.zone)
			day, err := ParseDate(tt.day)
			if err != nil {
				t.Fatal(err)
			}
			start := day.Start(zone)
			if got := start.Format(time.RFC3339); got != tt.start {
				t.Errorf("%s starts at %s in %s, want %s", day, got, tt.zone, tt.start)
			}
			if got := day.AddDays(1).Start(zone).Sub(start); got != tt.length {
				t.Errorf("%s has %v in %s, want %v", day, got, tt.zone, tt.length)
			}
		})
	}
}

// The first instant at which clocks show a reading, found the slow way: minute
// by minute over everything that could be it.
func TestFirstInstantIsTheFirstMinuteThatShowsTheReadingOrMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		wall := wallOf(drawInstant(t, zone, "instant"), zone) + 60*rapid.Int64Range(-90, 90).Draw(t, "minutes")
		want := time.Unix(wall, 0).Add(-48 * time.Hour)
		for wallOf(want, zone) < wall {
			want = want.Add(time.Minute)
		}
		if got := firstInstant(wall, zone); !got.Equal(want) {
			t.Fatalf("firstInstant = %s, want %s", got.In(zone), want.In(zone))
		}
	})
}

// Beyond 2037 the database has rules instead of a list, and the standard
// library takes their years for 365 days long.
func TestTheLastDaysOfFarLeapYearsAreDaysLikeOthers(t *testing.T) {
	t.Parallel()
	for _, name := range oddZones {
		zone := zone(t, name)
		for year := 2036; year <= 2104; year += 4 {
			before := Date{year, 12, 28}.Start(zone)
			for day := (Date{year, 12, 29}); day.Year == year || day.Day < 4; day = day.AddDays(1) {
				start := day.Start(zone)
				if got := start.Sub(before); got != 24*time.Hour {
					t.Fatalf("the day before %s has %v in %s", day, got, name)
				}
				for at := start; at.Before(start.Add(24 * time.Hour)); at = at.Add(7 * time.Hour) {
					if got := DayOf(at, zone); got != day {
						t.Fatalf("%s lies in %s in %s, want %s", at, got, name, day)
					}
				}
				before = start
			}
			i := schemas.NewInterval(Date{year, 12, 30}.Start(zone), Date{year + 1, 1, 3}.Start(zone))
			if edges := edgesOf(i, zone, Hour); len(edges) != 4*24+1 {
				t.Fatalf("four days at the end of %d have %d hours in %s", year, len(edges)-1, name)
			}
		}
	}
}

func TestEveryInstantLiesInItsDay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := drawZone(t)
		at := drawInstant(t, zone, "instant")
		day := DayOf(at, zone)
		if start, next := day.Start(zone), day.AddDays(1).Start(zone); at.Before(start) || !at.Before(next) {
			t.Fatalf("%s was put into %s, which is %s to %s", at, day, start, next)
		}
	})
}

func TestDatesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"2026-11-24", "2024-02-29", "1970-01-01", "2105-12-31"} {
		day, err := ParseDate(text)
		if err != nil || day.String() != text {
			t.Errorf("ParseDate(%q) = %s, %v", text, day, err)
		}
	}
	for _, text := range []string{"", "2026-11-31", "2026-02-29", "2026-1-2", "24.11.2026", "2026-11-24T00:00:00Z", " 2026-11-24", "20261124"} {
		if day, err := ParseDate(text); !errors.Is(err, ErrDate) {
			t.Errorf("ParseDate(%q) = %s, %v; want ErrDate", text, day, err)
		}
	}
}

func TestMonthsLaterIsTheSameDayOrTheLast(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from   string
		months int
		want   string
	}{
		{"2026-01-31", 1, "2026-02-28"},
		{"2024-01-31", 1, "2024-02-29"},
		{"2024-02-29", -12, "2023-02-28"},
		{"2024-02-29", 48, "2028-02-29"},
		{"2026-12-31", 2, "2027-02-28"},
		{"2026-03-31", -1, "2026-02-28"},
		{"2026-01-15", -13, "2024-12-15"},
	}
	for _, tt := range tests {
		from, err := ParseDate(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.AddMonths(tt.months).String(); got != tt.want {
			t.Errorf("%s and %d months is %s, want %s", tt.from, tt.months, got, tt.want)
		}
	}
}
