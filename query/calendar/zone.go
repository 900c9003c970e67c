package calendar

import (
	"sync"
	"time"
	_ "time/tzdata" // the zones must be there on a machine without a zone database

	"agentmeter/schemas"
)

// zones caches what LoadZone loaded. Only names of the database get in, so the
// database's size bounds it.
var zones sync.Map // string → *time.Location

// LoadZone is schemas.LoadZone, with what it loaded kept at hand.
func LoadZone(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := schemas.LoadZone(name)
	if err != nil {
		return nil, err
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
// wall or later. What a clock shows is given as the Unix time at which a UTC
// clock shows it. A reading that clocks skip gives the instant of the skip and
// one that they show twice gives the first.
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
