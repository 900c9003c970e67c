package query

import (
	"context"
	"net/http"
	"slices"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// maxLeaderboard is how many agents the dashboard's answer holds.
const maxLeaderboard = 100

// maxSeriesAgents is how many agents a bar tells apart.
const maxSeriesAgents = 7

// GetUsageAgents answers GET /v1/usage/agents: the leaderboard, page by page.
func (s *Service) GetUsageAgents(w http.ResponseWriter, r *http.Request, _ api.GetUsageAgentsParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	u.useHeld = true
	sort := oneOf(p, "sort", api.SortCredits, api.SortCredits, api.SortMessages, api.SortName, api.SortCreditsPerMessage, api.SortChange)
	order := oneOf(p, "order", defaultOrder(sort), api.Ascending, api.Descending)
	limit := p.limit()
	fingerprint := fingerprintOf(u.route, u.workspace, u.agent, u.asked.String(), u.grain, u.compare, sort, order)
	from, err := p.cursor(fingerprint)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, u.explained(r), func(ctx context.Context) error {
		st, q, err := s.standingAndQuestion(ctx, u)
		if err != nil {
			return err
		}
		f, err := s.figuresAlone(ctx, u.route, q, st)
		if err != nil {
			return err
		}
		rows := after(f.sorted(sort, order, st.agentName), from, sort, order)
		answer := api.UsageAgentsPage{
			Range:        st.rangeAnswer(u, q.grain),
			Agents:       make([]api.AgentUsage, 0, limit),
			AgentsTotal:  int64(len(f.agents)),
			Freshness:    st.watermark.freshness(q.now),
			Completeness: st.watermark.completeness(q.interval, q.now),
		}
		if len(rows) > limit {
			rows = rows[:limit]
			next := rows[limit-1].encode(fingerprint)
			answer.NextCursor = &next
		}
		for _, a := range rows {
			answer.Agents = append(answer.Agents, a.row(q, st.directory, a.share))
		}
		answer.Explain = explanationFrom(ctx).answer()
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// shares returns the agents' shares of their sum, in their order.
func (f *figures) shares() []string {
	amounts := make([]schemas.CreditsSum, len(f.agents))
	for i, a := range f.agents {
		amounts[i] = a.total.credits
	}
	return sharesOf(amounts)
}

// row describes one agent of the leaderboard.
func (a *agentUsage) row(q question, d directory, share string) api.AgentUsage {
	out := api.AgentUsage{
		ID:       a.id,
		Credits:  a.total.credits.String(),
		Messages: count(a.total.messages),
		Share:    share,
		Spark:    make([]string, q.bars()),
	}
	out.Name, out.Deleted = d.describe(a.id, q.now)
	if q.comparison != nil {
		credits, messages := a.previous.credits.String(), count(a.previous.messages)
		out.PreviousCredits, out.PreviousMessages = &credits, &messages
	}
	for i := range out.Spark {
		out.Spark[i] = "0"
	}
	for _, own := range a.bars {
		out.Spark[own.bar] = own.credits.String()
	}
	return out
}

// seriesAgents returns, for each bar, what the range's first seven agents used
// in it and what the others did together.
func (f *figures) seriesAgents() [][]api.BarAgent {
	out := make([][]api.BarAgent, len(f.bars))
	others := make([]tally, len(f.bars))
	otherAgents := make([]int64, len(f.bars))
	for rank, a := range f.agents {
		for _, own := range a.bars {
			if rank >= maxSeriesAgents {
				others[own.bar].add(own.tally)
				otherAgents[own.bar]++
				continue
			}
			out[own.bar] = append(out[own.bar], api.BarAgent{
				ID: &a.id, Credits: own.credits.String(), Messages: count(own.messages),
			})
		}
	}
	for i := range out {
		if otherAgents[i] > 0 {
			out[i] = append(out[i], api.BarAgent{
				Others: &otherAgents[i], Credits: others[i].credits.String(), Messages: count(others[i].messages),
			})
		} else if out[i] == nil {
			out[i] = []api.BarAgent{}
		}
	}
	return out
}

// ranked is an agent with what the leaderboard can be sorted by.
type ranked struct {
	*agentUsage
	share string
	place
}

// sorted returns the leaderboard in an order.
func (f *figures) sorted(sort api.AgentSort, order api.SortOrder, nameOf func(string) string) []ranked {
	shares := f.shares()
	all := make([]ranked, len(f.agents))
	for i, a := range f.agents {
		all[i] = ranked{agentUsage: a, share: shares[i], place: place{
			Credits: a.total.credits, Previous: a.previous.credits, Messages: a.total.messages, ID: a.id,
		}}
		if sort == api.SortName {
			all[i].Name = nameOf(a.id)
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return a.compare(b.place, sort, order) })
	return all
}
