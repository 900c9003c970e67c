package query

import (
	"fmt"
	"slices"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// question is what figures are asked for, resolved to instants.
type question struct {
	workspace  schemas.WorkspaceID
	agent      string // the chosen agent, or "" for all
	interval   schemas.Interval
	zone       *time.Location
	grain      calendar.Grain
	edges      []time.Time
	comparison *comparison // nil: none
	now        time.Time
}

// comparison is what a question's range is compared with.
type comparison struct {
	schemas.Interval
	edges []time.Time
}

// bars is how many bars the question has.
func (q question) bars() int { return len(q.edges) - 1 }

func (q question) bar(i int) schemas.Interval {
	return schemas.Interval{Start: q.edges[i], End: q.edges[i+1]}
}

// minutesFrom is how far back minutes are in their tier.
func (q question) minutesFrom() time.Time { return q.now.Add(-minuteRetention) }

// maxBars is how many bars an answer may have; CSV may have any number.
const maxBars = 400

// cutIntoBars cuts a range into the bars of a grain, "" being the one that shows it
// well. The edges are where bars begin, and at last where the range ends.
func cutIntoBars(r calendar.Range, grain calendar.Grain) (calendar.Grain, []time.Time, error) {
	if grain == "" {
		grain = calendar.AutoGrain(r.Interval, r.Zone)
	}
	edges, ok := calendar.Bars(r.Interval, r.Zone, grain, maxBars)
	if ok {
		return grain, edges, nil
	}
	problem := httpapi.InvalidParameter("grain", "too_many_bars",
		fmt.Sprintf("%s makes more than %d bars of this range", grain, maxBars))
	problem.Code = "too_many_bars"
	at := slices.Index(calendar.Grains[:], grain)
	for _, coarser := range calendar.Grains[at+1:] {
		if _, ok := calendar.Bars(r.Interval, r.Zone, coarser, maxBars); ok {
			problem.SuggestedGrain = api.Grain(coarser)
			problem.Detail = fmt.Sprintf("%s Ask for %s bars, or for less time.", problem.Detail, coarser)
			return grain, nil, problem
		}
	}
	problem.Detail += " Ask for less time."
	return grain, nil, problem
}
