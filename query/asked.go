package query

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

// asked is a range as it was asked for: what of it needs the workspace's zone,
// its anchor or the clock is still to be resolved.
type asked struct {
	preset     calendar.Preset // "" for dates and instants
	dates      bool
	from, to   calendar.Date
	start, end time.Time
	zone       *time.Location // nil: the workspace's
}

// String tells ranges apart as they are asked for.
func (a asked) String() string {
	zone := ""
	if a.zone != nil {
		zone = a.zone.String()
	}
	return fmt.Sprint(a.preset, a.dates, a.from, a.to, a.start.UTC(), a.end.UTC(), zone)
}

// asked reads a range and its zone.
func (p *parameters) asked() asked {
	var a asked
	if p.has("tz") {
		zone, err := calendar.LoadZone(p.values.Get("tz"))
		if err != nil {
			p.fault("tz", "tz_unknown", "is "+schemas.ErrZone.Error())
		}
		a.zone = zone
	}
	dates := p.has("from") || p.has("to")
	instants := p.has("start") || p.has("end")
	switch {
	case p.has("range") && (dates || instants):
		p.fault("range", "range_mixed", "cannot stand beside from and to or start and end; give one of the three")
	case dates && instants:
		p.fault("start", "range_mixed", "cannot stand beside from and to; give from and to, or start and end")
	case dates:
		a.dates = true
		a.from, a.to = p.date("from"), p.date("to")
		if len(p.faults) == 0 {
			_, err := calendar.DateRange(a.from, a.to, time.UTC)
			p.rangeFault(err, "from", "to")
		}
	case instants:
		a.start, a.end = p.instant("start"), p.instant("end")
		if len(p.faults) == 0 {
			_, err := calendar.InstantRange(a.start, a.end, time.UTC)
			p.rangeFault(err, "start", "end")
		}
	default:
		a.preset = oneOf(p, "range", calendar.Period, calendar.Presets[:]...)
	}
	return a
}

func (p *parameters) date(name string) calendar.Date {
	if !p.has(name) {
		p.fault(name, name+"_missing", "is required where the other end is given; write it like 2026-11-24")
		return calendar.Date{}
	}
	date, err := calendar.ParseDate(p.values.Get(name))
	if err != nil {
		p.fault(name, name+"_invalid", "is "+calendar.ErrDate.Error())
	}
	return date
}

func (p *parameters) instant(name string) time.Time {
	if !p.has(name) {
		p.fault(name, name+"_missing", "is required where the other end is given; write it like 2026-11-24T09:00:00Z")
		return time.Time{}
	}
	text := p.values.Get(name)
	at, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil && strings.Contains(text, " "):
		p.fault(name, name+"_invalid", "is not an RFC 3339 time; in a URL the + of an offset is written %2B")
	case err != nil:
		p.fault(name, name+"_invalid", "is not an RFC 3339 time; write it like 2026-11-24T09:00:00Z")
	case !schemas.StepMinute.Aligned(at):
		p.fault(name, name+"_invalid", "is not a whole minute")
	}
	return at
}

// rangeFault says of two well-formed ends what makes them no range.
func (p *parameters) rangeFault(err error, first, last string) {
	switch {
	case err == nil:
	case errors.Is(err, calendar.ErrEndFirst):
		p.fault(last, "end_before_start", "lies before "+first)
	case errors.Is(err, calendar.ErrOutside):
		p.fault(first, "range_outside", fmt.Sprintf("or %s lies outside the years %d to %d", last,
			schemas.MinOccurredAt.Year(), schemas.MaxOccurredAt.Year()-1))
	case errors.Is(err, calendar.ErrEmpty):
		p.fault(last, "range_empty", "leaves no instant in the range")
	default:
		p.fault(first, "range_invalid", err.Error())
	}
}

// resolve turns what was asked for into a range. Dates that are one can still
// be none in a zone that left a day out.
func (a asked) resolve(now time.Time, zone *time.Location, anchorDay int) (calendar.Range, error) {
	p := &parameters{}
	var r calendar.Range
	var err error
	switch {
	case a.preset != "":
		r, err = calendar.PresetRange(a.preset, now, zone, anchorDay)
		p.rangeFault(err, "range", "range")
	case a.dates:
		r, err = calendar.DateRange(a.from, a.to, zone)
		p.rangeFault(err, "from", "to")
	default:
		r, err = calendar.InstantRange(a.start, a.end, zone)
		p.rangeFault(err, "start", "end")
	}
	return r, p.err()
}
