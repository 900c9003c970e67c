package calendar

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the zones must be there on a machine without a zone database
)

// ErrZone means that a name is not one of the IANA zone database.
var ErrZone = errors.New(`not an IANA time zone; write it like "Europe/Copenhagen"`)

// zones caches what LoadZone loaded. Only names of the database get in, so the
// database's size bounds it.
var zones sync.Map // string → *time.Location

// LoadZone returns the zone of that IANA name. It refuses, with ErrZone, what
// the machine's zone directory would also give but what is no zone's name: its
// own local time, and the variants that count leap seconds.
func LoadZone(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	switch {
	case name == "", name == "Local", name == "localtime", name == "posixrules",
		strings.HasPrefix(name, "right/"), strings.HasPrefix(name, "posix/"):
		return nil, ErrZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrZone, err)
	}
	zones.Store(name, zone)
	return zone, nil
}

// offsetOf is how many seconds the zone's clocks are ahead of UTC at t.
func offsetOf(t time.Time, zone *time.Location) int64 {
	_, offset := t.In(zone).Zone()
	return int64(offset)
}

// firstInstant returns the earliest instant at which the zone's clocks show
// wall or later. Wall is a clock reading, given as the Unix time at which a
// UTC clock shows it. A reading that clocks skip gives the instant of the skip
// and one that they show twice gives the first.
func firstInstant(wall int64, zone *time.Location) time.Time {
	// No clock is, or was, two days off UTC, so the search begins where every
	// clock still shows less than wall.
	const farther = 48 * 60 * 60
	from := time.Unix(wall-farther, 0)
	for {
		offset := offsetOf(from, zone)
		candidate := time.Unix(max(wall-offset, from.Unix()), 0)
		end, ever := offsetHolds(from, zone)
		if ever || candidate.Before(end) {
			return candidate.UTC()
		}
		from = end
	}
}

// offsetHolds returns until when the offset at t holds at least; ever is true
// where it holds for ever.
//
// Beyond the years that the database lists, time.Time.ZoneBounds takes every
// year for 365 days long: on the last day of a leap year it says that the
// offset holds until a time before t. Nobody changes clocks on that day, so an
// hour holds no surprise.
func offsetHolds(t time.Time, zone *time.Location) (end time.Time, ever bool) {
	_, end = t.In(zone).ZoneBounds()
	switch {
	case end.IsZero():
		return end, true
	case !end.After(t):
		return t.Add(time.Hour), false
	default:
		return end, false
	}
}

// wallOf is the clock reading at t, as firstInstant takes it.
func wallOf(t time.Time, zone *time.Location) int64 {
	return t.Unix() + offsetOf(t, zone)
}
