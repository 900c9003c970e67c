package query

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/query/tiers"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
	schema "agentmeter/schemas/clickhouse"
)

// maxBreakdown is how many keys a breakdown lists.
const maxBreakdown = 50

// breakdownColumns are the ledger's columns that usage can be broken down by.
var breakdownColumns = map[api.BreakdownBy]string{
	api.ByChannel:      "channel",
	api.ByModel:        "model",
	api.ByConversation: "conversation",
}

// maxBreakdownDays is how much time one breakdown may be about, in days of its
// zone: more than a year, so that any year is whole. A year of 100 million events
// takes seconds.
const maxBreakdownDays = 400

// GetBreakdown answers GET /v1/usage/breakdown: what is behind a bar or an
// agent. No rollup knows channels, models and conversations, so it reads the
// ledger.
func (s *Service) GetBreakdown(w http.ResponseWriter, r *http.Request, _ api.GetBreakdownParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	by := p.by()
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, u.explained(r), func(ctx context.Context) error {
		st, err := s.standingOf(ctx, u)
		if err != nil {
			return err
		}
		if st.rng.End.After(st.rng.Start.In(st.zone).AddDate(0, 0, maxBreakdownDays)) {
			return tooLongToBreakDown(u.asked)
		}
		grain := u.grain
		if grain == "" {
			grain = calendar.AutoGrain(st.rng.Interval, st.zone)
		}
		items, total, keys, err := s.breakdownOf(ctx, u, st, by)
		if err != nil {
			return err
		}
		answer := breakdownAnswer(items, total, keys)
		answer.Range, answer.By = st.rangeAnswer(u, grain), by
		answer.Freshness = st.watermark.freshness(st.now)
		answer.Completeness = st.watermark.completeness(st.rng.Interval, st.now)
		answer.Explain = explanationFrom(ctx).answer()
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// tooLongToBreakDown names the parameter that made a range too long.
func tooLongToBreakDown(a asked) *httpapi.Problem {
	field := "range"
	switch {
	case a.dates:
		field = "to"
	case a.preset == "":
		field = "end"
	}
	problem := httpapi.InvalidParameter(field, "range_too_long", fmt.Sprintf("makes a range of more than %d days", maxBreakdownDays))
	problem.Code = "range_too_long"
	problem.Detail += " What is behind figures is read event by event. Ask for less time."
	return problem
}

func (p *parameters) by() api.BreakdownBy {
	if !p.has("by") {
		p.fault("by", "by_missing", "is required; there are channel, model, conversation")
	}
	return oneOf(p, "by", api.ByChannel, api.ByChannel, api.ByModel, api.ByConversation)
}

type keyTally struct {
	key string
	tally
}

func (s *Service) breakdownOf(ctx context.Context, u usageRequest, st *standing, by api.BreakdownBy) (items []keyTally, total tally, keys int64, err error) {
	var (
		key                                proto.ColStr
		spent, allSpent                    proto.ColInt128
		answered, allAnswered, keysOfRange proto.ColInt64
	)
	b := newBuilder(u.workspace, u.agent)
	b.params["from"], b.params["to"] = unix(st.rng.Start), unix(st.rng.End)
	b.params["limit"] = strconv.Itoa(maxBreakdown)
	sql := render("breakdown", map[string]any{"Key": breakdownColumns[by], "OneAgent": u.agent != ""})
	if explanationFrom(ctx) != nil {
		whole := tiers.Read{Step: tiers.Ledger, From: st.rng.Start, To: st.rng.End}
		ctx = explainReads(ctx, []branch{{Table: schema.Ledger, Reads: []branchRead{{planned: whole}}}})
	}
	b.noteTier(tiers.Ledger)
	defer s.timeTier(u.route, b)()
	err = s.read(ctx, u.route, "breakdown", sql, b.params, proto.Results{
		{Name: "key", Data: &key},
		{Name: "spent", Data: &spent},
		{Name: "answered", Data: &answered},
		{Name: "all_spent", Data: &allSpent},
		{Name: "all_answered", Data: &allAnswered},
		{Name: "keys", Data: &keysOfRange},
	}, func(rows int) {
		for i := range rows {
			items = append(items, keyTally{key.Row(i), tally{credits: creditsOf(spent[i]), messages: answered[i]}})
			total = tally{credits: creditsOf(allSpent[i]), messages: allAnswered[i]}
			keys = keysOfRange[i]
		}
	})
	return items, total, keys, err
}

func breakdownAnswer(items []keyTally, total tally, keys int64) api.Breakdown {
	rest := total
	amounts := make([]schemas.CreditsSum, 0, len(items)+1)
	for _, item := range items {
		rest.credits = rest.credits.Minus(item.credits)
		rest.messages -= item.messages
		amounts = append(amounts, item.credits)
	}
	shares := sharesOf(append(amounts, rest.credits))
	answer := api.Breakdown{
		Items: make([]api.BreakdownItem, len(items)),
		Rest: api.BreakdownRest{
			Count: keys - int64(len(items)), Credits: rest.credits.String(), Messages: count(rest.messages), Share: shares[len(items)],
		},
		Total: api.Totals{Credits: total.credits.String(), Messages: count(total.messages)},
	}
	for i, item := range items {
		answer.Items[i] = api.BreakdownItem{Key: item.key, Credits: item.credits.String(), Messages: count(item.messages), Share: shares[i]}
	}
	return answer
}
