package query

import (
	"context"
	"net/http"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// GetDashboard answers GET /v1/usage/dashboard.
func (s *Service) GetDashboard(w http.ResponseWriter, r *http.Request, _ api.GetDashboardParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	u.useHeld, u.heard = true, r.Header.Get(lastEventID)
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, u.explained(r), func(ctx context.Context) error {
		st, q, err := s.standingAndQuestion(ctx, u)
		if err != nil {
			return err
		}
		reading := newReading(st, q, historyEdges(q, st.watermark))
		header := w.Header()
		header.Set("Cache-Control", "private, no-cache")
		header.Set("Vary", "Authorization, Cookie")
		if through := st.watermark.countedThrough; !through.IsZero() {
			header.Set("Counted-Through", through.Format(time.RFC3339Nano))
		}
		// By one clock with it, for a 304 tells the lag by both, and with the days of the answer.
		header.Set("Date", st.now.Format(http.TimeFormat))
		if known := r.Header.Get("If-None-Match"); known != "" && reading.held && !u.explain {
			if err := s.readBesideTotals(ctx, u.route, q, reading, false); err != nil {
				return err
			}
			if tag := entityTag(u, st, q, reading).matching(known); tag != "" {
				header.Set("ETag", tag)
				s.metrics.answers.WithLabelValues(u.route, "unchanged").Inc()
				w.WriteHeader(http.StatusNotModified)
				return nil
			}
		}
		answer, err := s.dashboard(ctx, u, st, q, reading)
		if err != nil {
			return err
		}
		if reading.held && !u.explain && !reading.unsettled.Load() {
			header.Set("ETag", entityTag(u, st, q, reading).String())
		}
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// dashboard reads and puts together the whole answer.
func (s *Service) dashboard(ctx context.Context, u usageRequest, st *standing, q question, reading *reading) (*api.Dashboard, error) {
	// Slots are as of the range's end, or of now while it is open.
	asOf := q.now.Truncate(time.Microsecond)
	var seenBefore time.Time
	if !q.interval.End.After(q.now) {
		asOf, seenBefore = q.interval.End, q.interval.End
		// Who has sent on the last day of UTC that is cut by the end is known from
		// the figures, if they begin before it.
		if day := schemas.StepDay.Floor(seenBefore); !day.Before(q.interval.Start) {
			seenBefore = day
		}
	}
	f, around, err := s.figuresAndSurroundings(ctx, u.route, q, reading, seenBefore)
	if err != nil {
		return nil, err
	}

	for _, a := range f.agents {
		around.seen[a.id] = true
	}
	shares := f.shares()
	answer := &api.Dashboard{
		Range:   st.rangeAnswer(u, q.grain),
		Summary: summary(st, q, f, around, asOf),
		Series:  f.series(q, st.watermark),
		Agents:  make([]api.AgentUsage, 0, min(len(f.agents), maxLeaderboard)),

		AgentsTotal:        int64(len(f.agents)),
		WorkspaceTotal:     api.Totals{Credits: f.workspace.credits.String(), Messages: count(f.workspace.messages)},
		Insights:           insightsOf(q, f, st.agentName),
		Freshness:          st.watermark.freshness(q.now),
		Completeness:       st.watermark.completeness(q.interval, q.now),
		PlaygroundMessages: count(f.playground.messages),
		RecordedEvents:     count(f.total.events + f.playground.events),
	}
	answer.Insights.Spikes = spikes(q, f, st.watermark, reading.history, around.history)
	for i, a := range f.agents[:min(len(f.agents), maxLeaderboard)] {
		answer.Agents = append(answer.Agents, a.row(q, st.directory, shares[i]))
	}
	if !around.lastUsage.IsZero() {
		answer.LastUsageAt = &around.lastUsage
	}
	answer.Explain = explanationFrom(ctx).answer()
	return answer, nil
}

func summary(st *standing, q question, f *figures, around *surroundings, asOf time.Time) api.Summary {
	settings := st.settings.asOf(asOf)
	out := api.Summary{
		Credits:     f.total.credits.String(),
		Messages:    count(f.total.messages),
		Chatbots:    api.Slots{Used: slotsUsed(st.directory, q.agent, asOf, around.seen), Available: limited(settings.agentSlots)},
		TeamMembers: api.Slots{Used: existing(st.directory.members, asOf), Available: limited(settings.seats)},
		AsOf:        asOf,
	}
	if c := q.comparison; c != nil {
		out.Previous = spanAnswer(c.Interval, f.previous)
	}
	return out
}

// slotsUsed counts the slots in use at an instant, or of the chosen agent
// alone: one or none.
func slotsUsed(d directory, chosen string, asOf time.Time, seen map[string]bool) int64 {
	if chosen != "" {
		if d.holdsSlot(chosen, asOf, seen[chosen]) {
			return 1
		}
		return 0
	}
	used := existing(d.agents, asOf)
	for agent := range seen {
		if _, ok := d.agents[agent].asOf(asOf); !ok {
			used++
		}
	}
	return used
}

func limited(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func spanAnswer(i schemas.Interval, t tally) *api.Span {
	credits, messages := t.credits.String(), count(t.messages)
	return &api.Span{Start: i.Start, End: i.End, Credits: &credits, Messages: &messages}
}

// series describes the bars.
func (f *figures) series(q question, w watermark) []api.Bar {
	agents := f.seriesAgents()
	bars := make([]api.Bar, q.bars())
	for i := range bars {
		bar := q.bar(i)
		own := api.Bar{Start: bar.Start, End: bar.End, State: w.state(bar, q.now), Agents: agents[i]}
		if own.State != api.BarMissing || !f.bars[i].none() {
			credits, messages := f.bars[i].credits.String(), count(f.bars[i].messages)
			own.Credits, own.Messages = &credits, &messages
		}
		if c := q.comparison; c != nil && i < len(f.previousBars) {
			own.Previous = spanAnswer(schemas.Interval{Start: c.edges[i], End: c.edges[i+1]}, f.previousBars[i])
		}
		bars[i] = own
	}
	return bars
}
