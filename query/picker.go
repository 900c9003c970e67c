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

// maxQueryRunes is how long what is looked for may be.
const maxQueryRunes = 256

// recentDays is over how many days of UTC, the one under way among them, the
// picker's spenders are compared.
const recentDays = 30

// ListAgents answers GET /v1/agents: the picker's choices.
func (s *Service) ListAgents(w http.ResponseWriter, r *http.Request, _ api.ListAgentsParams) {
	p := readParameters(r)
	workspace := p.workspace()
	looked := folded(strings.TrimSpace(p.text("query", maxQueryRunes)))
	limit := p.limit()
	fingerprint := fingerprintOf(r.Pattern, workspace, looked)
	from, err := p.cursor(fingerprint)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, r, func(ctx context.Context) error {
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
		answer := api.AgentChoices{Agents: make([]api.AgentChoice, 0, limit), Total: int64(len(choices))}
		choices = after(choices, from, api.SortCredits, api.Descending)
		if len(choices) > limit {
			choices = choices[:limit]
			next := choices[limit-1].encode(fingerprint)
			answer.NextCursor = &next
		}
		for _, c := range choices {
			answer.Agents = append(answer.Agents, api.AgentChoice{
				ID: c.ID, Name: c.Name, Deleted: c.deleted, Credits: c.Credits.String(),
			})
		}
		writeAnswer(ctx, w, r, answer)
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
