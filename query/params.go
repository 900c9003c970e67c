package query

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/query/page"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// allAgents is the agent filter that filters nothing.
const allAgents = "all"

// Which parameters the routes take. Any other is an error: a misspelt filter
// must not answer with the figures of everything.
var (
	rangeParameters = []string{"workspace", "range", "from", "to", "start", "end", "agent", "tz"}
	barParameters   = append(slices.Clone(rangeParameters), "grain", "compare")

	parametersOf = map[string][]string{
		"GET /v1/usage/dashboard":  append(slices.Clone(barParameters), "explain"),
		"GET /v1/usage/export.csv": barParameters,
		"GET /v1/usage/agents":     append(slices.Clone(barParameters), "sort", "order", "cursor", "limit", "explain"),
		"GET /v1/usage/breakdown":  append(slices.Clone(barParameters), "by", "explain"),
		"GET /v1/usage/reconcile":  rangeParameters,
		"GET /v1/usage/live":       {"workspace"},
		"GET /v1/agents":           {"workspace", "query", "cursor", "limit"},

		"GET " + page.FiguresRoute: barParameters,
		"GET " + page.ProofRoute:   rangeParameters,
	}
)

// parameters reads a request's query, gathering everything that is wrong.
type parameters struct {
	values url.Values
	faults []schemas.FieldError
}

// readParameters begins to read the query of a request for a route.
func readParameters(r *http.Request) *parameters {
	p := &parameters{}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.fault("query", "query_invalid", "is not a well-formed URL query")
	}
	p.values = values
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	known := parametersOf[r.Pattern]
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			p.fault(name, "parameter_unknown", "is not known here; there are "+strings.Join(known, ", "))
		case len(values[name]) > 1:
			p.fault(name, "parameter_repeated", "is given more than once")
		}
	}
	return p
}

func (p *parameters) fault(name, code, detail string) {
	p.faults = append(p.faults, schemas.FieldError{Field: name, Code: code, Detail: detail})
}

// err is the problem that the parameters are, or nil.
func (p *parameters) err() error {
	if len(p.faults) == 0 {
		return nil
	}
	problem := httpapi.InvalidParameter(p.faults[0].Field, p.faults[0].Code, p.faults[0].Detail)
	if more := len(p.faults) - 1; more > 0 {
		problem.Detail = fmt.Sprintf("%s And %d more, see errors.", problem.Detail, more)
	}
	problem.Errors = p.faults
	return problem
}

func (p *parameters) has(name string) bool { return len(p.values[name]) > 0 }

func (p *parameters) workspace() schemas.WorkspaceID {
	id := p.values.Get("workspace")
	if fault := schemas.ValidateWorkspaceID("workspace", id); fault != nil {
		p.faults = append(p.faults, *fault)
	}
	return schemas.WorkspaceID(id)
}

// agent is the chosen agent, or "".
func (p *parameters) agent() string {
	if !p.has("agent") {
		return ""
	}
	id := p.values.Get("agent")
	if fault := schemas.ValidateID("agent", id); fault != nil {
		p.faults = append(p.faults, *fault)
	}
	if id == allAgents {
		return ""
	}
	return id
}

// oneOf reads a parameter that takes one of a few words.
func oneOf[T ~string](p *parameters, name string, fallback T, words ...T) T {
	if !p.has(name) {
		return fallback
	}
	value := T(p.values.Get(name))
	if !slices.Contains(words, value) {
		var list strings.Builder
		for i, word := range words {
			if i > 0 {
				list.WriteString(", ")
			}
			list.WriteString(string(word))
		}
		p.fault(name, name+"_unknown", fmt.Sprintf("is none of %s", list.String()))
		return fallback
	}
	return value
}

func (p *parameters) text(name string, maxRunes int) string {
	value := p.values.Get(name)
	if !utf8.ValidString(value) {
		p.fault(name, name+"_invalid", "is not valid UTF-8")
	} else if utf8.RuneCountInString(value) > maxRunes {
		p.fault(name, name+"_invalid", fmt.Sprintf("is longer than %d characters", maxRunes))
	}
	return value
}

// The limits of a page of rows.
const (
	defaultLimit = 50
	maxLimit     = 100
)

func (p *parameters) limit() int {
	if !p.has("limit") {
		return defaultLimit
	}
	n, err := strconv.Atoi(p.values.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		p.fault("limit", "limit_invalid", fmt.Sprintf("is not a whole number from 1 to %d", maxLimit))
		return defaultLimit
	}
	return n
}

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

// grain reads the bars' length; "" is auto.
func (p *parameters) grain() calendar.Grain {
	choice := oneOf(p, "grain", api.GrainChoiceAuto, api.GrainChoiceAuto, api.GrainChoiceMinute,
		api.GrainChoiceHour, api.GrainChoiceDay, api.GrainChoiceWeek, api.GrainChoiceMonth)
	if choice == api.GrainChoiceAuto {
		return ""
	}
	return calendar.Grain(choice)
}

func (p *parameters) explain() bool {
	return oneOf(p, "explain", api.ExplainNothing, api.ExplainNothing, api.ExplainAnswer) == api.ExplainAnswer
}

func (p *parameters) comparison() calendar.Comparison {
	return oneOf(p, "compare", calendar.NoComparison, calendar.Comparisons[:]...)
}
