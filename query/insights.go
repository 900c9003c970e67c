package query

import (
	"fmt"

	"agentmeter/query/page"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// insightsOf says which agent drove the spend, and whose rose most, in figures
// and in words. It is empty where nothing was spent. With one agent chosen it
// is about that one within the whole workspace.
func insightsOf(q question, f *figures, nameOf func(agent string) string) api.Insights {
	var out api.Insights
	if len(f.agents) == 0 {
		return out
	}
	top, whole := f.agents[0], f.workspace.credits
	if top.total.credits.Sign() <= 0 || whole.Sign() <= 0 {
		return out
	}
	out.Driver = &api.InsightDriver{
		ID: top.id, Name: nameOf(top.id), Credits: top.total.credits.String(), WorkspaceCredits: whole.String(),
		Percent: percentage(top.total.credits, whole).String(),
	}
	if riser, rise := biggestRise(q, f); riser != nil {
		out.Rise = &api.InsightRise{ID: riser.id, Name: nameOf(riser.id), Credits: rise.String()}
		if before := riser.previous.credits; before.Sign() > 0 {
			percent := percentage(rise, before).String()
			out.Rise.Percent = &percent
		}
	}
	out.Sentence = sentence(out, top.total.credits.Cmp(whole) < 0)
	return out
}

// biggestRise returns nil where there is no comparison, or nobody's rose.
func biggestRise(q question, f *figures) (riser *agentUsage, rise schemas.CreditsSum) {
	if q.comparison == nil {
		return nil, rise
	}
	for _, a := range f.agents {
		if own := a.total.credits.Minus(a.previous.credits); own.Cmp(rise) > 0 {
			riser, rise = a, own
		}
	}
	return riser, rise
}

// sentence is the answer in words, as the page says it to a reader of English;
// never 0 percent for something, or 100 for less than all.
func sentence(answer api.Insights, partOnly bool) string {
	driver, rise := answer.Driver, answer.Rise
	share := page.Grouped(driver.Percent)
	switch {
	case driver.Percent == "0":
		share = "under 1"
	case driver.Percent == "100" && partOnly:
		share = "over 99"
	}
	text := fmt.Sprintf("%s drove %s%% of credits in this range (%s of %s)",
		driver.Name, share, page.Grouped(driver.Credits), page.Grouped(driver.WorkspaceCredits))
	if rise == nil {
		return text + "."
	}
	var change string
	switch {
	case rise.Percent == nil:
		change = "new"
	case *rise.Percent == "0":
		change = "under +1%"
	default:
		change = "+" + page.Grouped(*rise.Percent) + "%"
	}
	return fmt.Sprintf("%s%s%s, +%s (%s).", text, page.RiseFollows, rise.Name, page.Grouped(rise.Credits), change)
}
