package query

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	known := parametersOf[r.Pattern]
	for _, name := range slices.Sorted(maps.Keys(values)) {
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
