package query

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"golang.org/x/sync/errgroup"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// How long what is looked for and a cursor may be. A cursor holds a name and an
// id, which JSON and base64 make some eight times as long as they have
// characters.
const (
	maxQueryRunes  = 256
	maxCursorRunes = 4096
)

// GetUsageAgents answers GET /v1/usage/agents: the leaderboard, page by page.
func (s *Service) GetUsageAgents(w http.ResponseWriter, r *http.Request, _ api.GetUsageAgentsParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	u.figures = true
	sort := oneOf(p, "sort", api.SortCredits, api.SortCredits, api.SortMessages, api.SortName, api.SortCreditsPerMessage, api.SortChange)
	order := oneOf(p, "order", defaultOrder(sort), api.Ascending, api.Descending)
	limit := p.limit()
	cursor := p.text("cursor", maxCursorRunes)
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	var from place
	if cursor != "" {
		var err error
		if from, err = decodePlace(cursor, sort, order); err != nil {
			httpapi.WriteError(w, r, err)
			return
		}
	}
	s.serve(w, u.explained(r), s.config.QueryTimeout, func(ctx context.Context) error {
		st, err := s.standingOf(ctx, u)
		if err != nil {
			return err
		}
		q, err := st.barQuestion(u)
		if err != nil {
			return err
		}
		f, err := s.usageOf(ctx, u.route, q, st)
		if err != nil {
			return err
		}
		rows := f.sorted(sort, order, func(agent string) string {
			name, _ := st.directory.describe(agent, q.now)
			return name
		})
		if cursor != "" {
			rows = after(rows, from, sort, order)
		}
		answer := api.UsageAgentsPage{
			Range:        st.rangeAnswer(u, q.grain),
			Agents:       make([]api.AgentUsage, 0, limit),
			AgentsTotal:  int64(len(f.agents)),
			Freshness:    st.watermark.freshness(q.now),
			Completeness: st.watermark.completeness(q.interval, q.now),
		}
		if len(rows) > limit {
			rows = rows[:limit]
			next := rows[limit-1].encode(sort, order)
			answer.NextCursor = &next
		}
		for _, a := range rows {
			answer.Agents = append(answer.Agents, a.row(q, st.directory, a.share))
		}
		answer.Explain = explanationFrom(ctx).answer()
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		w.Header().Set("Cache-Control", "private, no-cache")
		httpapi.WriteJSON(w, r, http.StatusOK, answer)
		return nil
	})
}

// recentDays is over how many days of UTC, the one under way among them, the
// picker's spenders are compared.
const recentDays = 30

// ListAgents answers GET /v1/agents: the picker's choices.
func (s *Service) ListAgents(w http.ResponseWriter, r *http.Request, _ api.ListAgentsParams) {
	p := readParameters(r)
	workspace := p.workspace()
	looked := folded(strings.TrimSpace(p.text("query", maxQueryRunes)))
	limit := p.limit()
	cursor := p.text("cursor", maxCursorRunes)
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	var from place
	if cursor != "" {
		var err error
		if from, err = decodePlace(cursor, api.SortCredits, api.Descending); err != nil {
			httpapi.WriteError(w, r, err)
			return
		}
	}
	s.serve(w, r, s.config.QueryTimeout, func(ctx context.Context) error {
		now := s.clock().UTC()
		var book *workspaceBook
		var spent map[string]schemas.CreditsSum
		group, groupCtx := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			book, err = s.recentBook(groupCtx, r.Pattern, workspace)
			return err
		})
		group.Go(func() (err error) {
			spent, err = s.spenders(groupCtx, r.Pattern, workspace, now)
			return err
		})
		if err := group.Wait(); err != nil {
			return err
		}
		choices := choicesOf(book.directory, spent, looked, now)
		total := len(choices)
		if cursor != "" {
			i, found := slices.BinarySearchFunc(choices, from, func(c choice, from place) int {
				return c.compare(from, api.SortCredits, api.Descending)
			})
			if found {
				i++
			}
			choices = choices[i:]
		}
		answer := api.AgentChoices{Agents: make([]api.AgentChoice, 0, limit), Total: int64(total)}
		if len(choices) > limit {
			choices = choices[:limit]
			next := choices[limit-1].encode(api.SortCredits, api.Descending)
			answer.NextCursor = &next
		}
		for _, c := range choices {
			answer.Agents = append(answer.Agents, api.AgentChoice{
				ID: c.ID, Name: c.Name, Deleted: c.deleted, Credits: c.Credits.String(),
			})
		}
		w.Header().Set("Cache-Control", "private, no-cache")
		httpapi.WriteJSON(w, r, http.StatusOK, answer)
		return nil
	})
}

type choice struct {
	place
	deleted bool
}

// choicesOf lists the agents that can be chosen and match what is looked for,
// the heaviest spender first. An agent that was deleted can be chosen while
// there is usage of it.
func choicesOf(d directory, spent map[string]schemas.CreditsSum, looked string, now time.Time) []choice {
	var all []choice
	add := func(agent string) {
		name, deleted := d.describe(agent, now)
		credits, used := spent[agent]
		if deleted && !used {
			return
		}
		if looked != "" && !strings.Contains(folded(name), looked) && !strings.Contains(folded(agent), looked) {
			return
		}
		all = append(all, choice{place: place{ID: agent, Name: name, Credits: credits}, deleted: deleted})
	}
	for agent, e := range d.agents {
		if _, ok := e.asOf(now); ok {
			add(agent)
		}
	}
	for agent := range spent {
		if _, ok := d.agents[agent].asOf(now); !ok {
			add(agent)
		}
	}
	slices.SortFunc(all, func(a, b choice) int { return a.compare(b.place, api.SortCredits, api.Descending) })
	return all
}

// spenders returns what every agent with usage has spent in the last days.
func (s *Service) spenders(ctx context.Context, route string, workspace schemas.WorkspaceID, now time.Time) (map[string]schemas.CreditsSum, error) {
	var who proto.ColStr
	var spent proto.ColInt128
	all := map[string]schemas.CreditsSum{}
	params := map[string]string{
		"workspace": string(workspace),
		"since":     unix(schemas.StepDay.Floor(now.AddDate(0, 0, 1-recentDays))),
	}
	err := s.read(ctx, route, "spenders", render("spenders", nil), params, proto.Results{
		{Name: "who", Data: &who},
		{Name: "spent", Data: &spent},
	}, func(rows int) {
		for i := range rows {
			all[who.Row(i)] = creditsOf(spent[i])
		}
	})
	return all, err
}

// creditsOf reads the engine's 128 bits.
func creditsOf(v proto.Int128) schemas.CreditsSum {
	return schemas.CreditsSum{Hi: int64(v.High), Lo: v.Low}
}
