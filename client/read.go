package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"agentmeter/schemas/api"
)

// Day is a calendar day, for the parameters From and To.
func Day(year int, month time.Month, day int) *api.FromParam {
	return &api.FromParam{Time: time.Date(year, month, day, 0, 0, 0, 0, time.UTC)}
}

// DashboardAnswer is what Dashboard found.
type DashboardAnswer struct {
	// Dashboard holds the figures; nil where they are NotModified.
	Dashboard *api.Dashboard
	// ETag names the answer, for IfNoneMatch; "" where it has no name.
	ETag string
	// NotModified says that nothing has changed since the answer that
	// IfNoneMatch named.
	NotModified bool
}

// DashboardOption changes one call of Dashboard.
type DashboardOption func(*api.GetDashboardParams)

// IfNoneMatch asks for the figures only if they are others than those of the
// answer with this ETag; "" asks for them in any case.
func IfNoneMatch(etag string) DashboardOption {
	return func(params *api.GetDashboardParams) {
		if etag != "" {
			params.IfNoneMatch = &etag
		}
	}
}

// Dashboard reads everything that the Usage page shows, from one snapshot: the
// headline is the sum of the bars and of the leaderboard. The range is a preset
// (Range), or days (From and To, see Day), or instants (Start and End, whole
// minutes, half-open); by default the current billing period. More than 400 bars
// are refused with the code too_many_bars and a SuggestedGrain.
func (c *Client) Dashboard(ctx context.Context, params api.GetDashboardParams, options ...DashboardOption) (*DashboardAnswer, error) {
	for _, option := range options {
		option(&params)
	}
	var found DashboardAnswer
	err := c.do(ctx, operation{
		safety: reads,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return requests.GetDashboard(ctx, &params)
		},
		take: func(a *answer) error {
			found = DashboardAnswer{ETag: a.header.Get("ETag")}
			if a.status == http.StatusNotModified && params.IfNoneMatch != nil {
				found.NotModified = true
				if found.ETag == "" {
					found.ETag = *params.IfNoneMatch
				}
				return nil
			}
			found.Dashboard = new(api.Dashboard)
			return answers(http.StatusOK, found.Dashboard)(a)
		},
	})
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// read is an operation that answers 200 with JSON.
func read[T any](ctx context.Context, c *Client, send func(context.Context, *api.Client) (*http.Response, error)) (*T, error) {
	found := new(T)
	err := c.do(ctx, operation{
		safety: reads,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return send(ctx, requests)
		},
		take: answers(http.StatusOK, found),
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Agents reads one page of the leaderboard; its NextCursor is the Cursor of the
// next, nil on the last.
func (c *Client) Agents(ctx context.Context, params api.GetUsageAgentsParams) (*api.UsageAgentsPage, error) {
	return read[api.UsageAgentsPage](ctx, c, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.GetUsageAgents(ctx, &params)
	})
}

// AllAgents reads the whole leaderboard, page by page as the loop goes on,
// beginning after params.Cursor. An error ends the sequence. Each page is of its
// own moment: where events keep coming, what moves up meanwhile can be missed or
// come twice. ExportCSV has every agent from one moment.
func (c *Client) AllAgents(ctx context.Context, params api.GetUsageAgentsParams) iter.Seq2[api.AgentUsage, error] {
	return pages(params.Cursor, params.Limit, func(cursor *string, limit *int) ([]api.AgentUsage, *string, error) {
		params := params
		params.Cursor, params.Limit = cursor, limit
		page, err := c.Agents(ctx, params)
		if err != nil {
			return nil, nil, err
		}
		return page.Agents, page.NextCursor, nil
	})
}

// AgentChoices reads one page of the agents that match a query: registered ones
// and ones with usage, the heaviest spender of the last 30 days first.
func (c *Client) AgentChoices(ctx context.Context, params api.ListAgentsParams) (*api.AgentChoices, error) {
	return read[api.AgentChoices](ctx, c, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.ListAgents(ctx, &params)
	})
}

// SearchAgents reads all agents that match, page by page as the loop goes on,
// beginning after params.Cursor. An error ends the sequence.
func (c *Client) SearchAgents(ctx context.Context, params api.ListAgentsParams) iter.Seq2[api.AgentChoice, error] {
	return pages(params.Cursor, params.Limit, func(cursor *string, limit *int) ([]api.AgentChoice, *string, error) {
		params := params
		params.Cursor, params.Limit = cursor, limit
		page, err := c.AgentChoices(ctx, params)
		if err != nil {
			return nil, nil, err
		}
		return page.Agents, page.NextCursor, nil
	})
}

// maxPage is how many rows a page may have by the contract.
const maxPage = 100

// pages goes through rows that come by cursor. Every loop over the sequence
// begins at the same place.
func pages[T any](cursor *string, limit *int, read func(cursor *string, limit *int) ([]T, *string, error)) iter.Seq2[T, error] {
	if limit == nil {
		limit = new(maxPage)
	}
	return func(yield func(T, error) bool) {
		at := cursor
		for {
			rows, next, err := read(at, limit)
			if err == nil && next != nil && at != nil && *next == *at {
				err = fmt.Errorf("%w: the page after the cursor %q is that page itself", ErrAnswer, *at)
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			at = next
		}
	}
}

// Breakdown reads what is behind a bar or an agent: the 50 heaviest channels,
// models or conversations of the range, and the rest in one row.
func (c *Client) Breakdown(ctx context.Context, params api.GetBreakdownParams) (*api.Breakdown, error) {
	return read[api.Breakdown](ctx, c, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.GetBreakdown(ctx, &params)
	})
}

// Reconcile adds a range up twice, from the recorded events and from the rollups
// that the figures come from, and answers both sums and their difference.
func (c *Client) Reconcile(ctx context.Context, params api.GetReconcileParams) (*api.Reconciliation, error) {
	return read[api.Reconciliation](ctx, c, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.GetReconcile(ctx, &params)
	})
}

// Workspace reads a workspace's settings as they are now. One that the token
// covers but nothing has mentioned yet has the defaults.
func (c *Client) Workspace(ctx context.Context, workspace string) (*api.Workspace, error) {
	if err := checkIDs(workspace); err != nil {
		return nil, err
	}
	return read[api.Workspace](ctx, c, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.GetWorkspace(ctx, workspace)
	})
}

// checkIDs refuses ids that a path cannot hold: they would name another resource.
func checkIDs(ids ...string) error {
	for _, id := range ids {
		switch id {
		case "":
			return errors.New("id: is empty")
		case ".", "..":
			return fmt.Errorf("id: %q cannot stand in a path", id)
		}
	}
	return nil
}
