package schemas

import (
	"fmt"
	"time"
)

// Interval is the half-open span [Start, End) in UTC. The empty interval has
// Start == End; one whose End lies before its Start is a programmer's mistake
// and counts as empty.
type Interval struct {
	Start time.Time
	End   time.Time
}

// NewInterval returns [start, end) in UTC.
func NewInterval(start, end time.Time) Interval {
	return Interval{Start: start.UTC(), End: end.UTC()}
}

// Empty reports whether no instant lies in i.
func (i Interval) Empty() bool { return !i.Start.Before(i.End) }

// Duration is End - Start, and 0 for an empty interval.
func (i Interval) Duration() time.Duration {
	if i.Empty() {
		return 0
	}
	return i.End.Sub(i.Start)
}

// Contains reports Start ≤ t < End.
func (i Interval) Contains(t time.Time) bool { return !t.Before(i.Start) && t.Before(i.End) }

// Overlaps reports whether some instant lies in both.
func (i Interval) Overlaps(other Interval) bool { return !i.Intersect(other).Empty() }

// Intersect returns the instants that lie in both; it may be empty.
func (i Interval) Intersect(other Interval) Interval {
	if other.Start.After(i.Start) {
		i.Start = other.Start
	}
	if other.End.Before(i.End) {
		i.End = other.End
	}
	if i.End.Before(i.Start) {
		i.End = i.Start
	}
	return i
}

// String formats the interval in RFC 3339, half-open.
func (i Interval) String() string {
	return fmt.Sprintf("[%s, %s)", i.Start.Format(time.RFC3339Nano), i.End.Format(time.RFC3339Nano))
}

// Step is the fixed length of a rollup tier's buckets. Buckets of every step
// begin at multiples of it since 1970-01-01T00:00:00Z, so that each coarser
// step is tiled by each finer one.
type Step time.Duration

// The steps that rollups are kept in.
const (
	StepMinute  = Step(time.Minute)
	StepQuarter = Step(15 * time.Minute)
	StepHour    = Step(time.Hour)
	StepDay     = Step(24 * time.Hour)
)

// Steps lists the rollup steps from the coarsest to the finest.
var Steps = [...]Step{StepDay, StepHour, StepQuarter, StepMinute}

// Floor returns the start of the bucket that t lies in.
func (s Step) Floor(t time.Time) time.Time {
	seconds := int64(time.Duration(s) / time.Second)
	unix := t.Unix()
	rest := unix % seconds
	if rest < 0 {
		rest += seconds
	}
	return time.Unix(unix-rest, 0).UTC()
}

// Ceil returns the first bucket start that is not before t.
func (s Step) Ceil(t time.Time) time.Time {
	floor := s.Floor(t)
	if floor.Equal(t) {
		return floor
	}
	return floor.Add(time.Duration(s))
}

// Aligned reports whether t is the start of a bucket.
func (s Step) Aligned(t time.Time) bool { return s.Floor(t).Equal(t) }

// String names the step as the rollup tables do.
func (s Step) String() string {
	switch s {
	case StepMinute:
		return "minute"
	case StepQuarter:
		return "quarter"
	case StepHour:
		return "hour"
	case StepDay:
		return "day"
	default:
		return time.Duration(s).String()
	}
}
