package query

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// usageRequest is what the routes that answer with figures have in common.
type usageRequest struct {
	route     string
	workspace schemas.WorkspaceID
	agent     string
	asked     asked
	grain     calendar.Grain
	compare   calendar.Comparison
	explain   bool
	useHeld   bool   // it may be answered from what is held, by the workspace's totals
	heard     string // the last event of the live stream that the reader has, "" for none
}

// readUsage reads a request for figures.
func (p *parameters) readUsage(r *http.Request) usageRequest {
	return usageRequest{
		route:     r.Pattern,
		workspace: p.workspace(),
		agent:     p.agent(),
		asked:     p.asked(),
		grain:     p.grain(),
		compare:   p.comparison(),
		explain:   p.explain(),
	}
}

// standing is what holds for an answer before any figure is read.
type standing struct {
	now       time.Time
	watermark watermark
	settings  settingsHistory
	directory directory
	zone      *time.Location
	rng       calendar.Range
	totals    *workspaceTotals // nil where they are not asked for, or nothing is held
}

// standingOf reads the watermark, the workspace's settings, its directory and
// its totals, and resolves the range with them.
func (s *Service) standingOf(ctx context.Context, u usageRequest) (*standing, error) {
	st := &standing{now: s.clock().UTC()}
	progress, err := s.recentProgress(ctx, u.route)
	if err != nil {
		return nil, err
	}
	st.watermark = watermarkOf(u.workspace, progress).asOf(st.now)
	group, groupCtx := errgroup.WithContext(ctx)
	if u.useHeld && s.held != nil {
		group.Go(func() (err error) {
			st.totals, err = s.totalsOf(groupCtx, u, st.now, st.watermark)
			return err
		})
	}
	group.Go(func() error {
		book, err := s.recentBook(groupCtx, u.route, u.workspace)
		if err == nil {
			st.settings, st.directory = book.settings, book.directory
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	current := st.settings.asOf(st.now)
	if st.zone = u.asked.zone; st.zone == nil {
		if st.zone, err = current.zone(); err != nil {
			return nil, err
		}
	}
	st.rng, err = u.asked.resolve(st.now, st.zone, current.anchorDay())
	return st, err
}

// standingAndQuestion is standingOf with the question about the bars that a request
// asks for.
func (s *Service) standingAndQuestion(ctx context.Context, u usageRequest) (*standing, question, error) {
	st, err := s.standingOf(ctx, u)
	if err != nil {
		return nil, question{}, err
	}
	q, err := st.barQuestion(u)
	return st, q, err
}

// barQuestion makes the question about the bars that a request asks for.
func (st *standing) barQuestion(u usageRequest) (question, error) {
	grain, edges, err := cutIntoBars(st.rng, u.grain)
	if err != nil {
		return question{}, err
	}
	return st.question(u, grain, edges), nil
}

// question makes the question that a request is about bars of a grain.
func (st *standing) question(u usageRequest, grain calendar.Grain, edges []time.Time) question {
	q := question{
		workspace: u.workspace, agent: u.agent, interval: st.rng.Interval, zone: st.zone,
		grain: grain, edges: edges, now: st.now,
	}
	if other, ok := st.rng.ComparedWith(u.compare, st.now); ok {
		q.comparison = &comparison{Interval: other, edges: calendar.ComparedBars(edges, other, st.zone, grain, u.compare)}
	}
	return q
}

// agentName is the name that people know an agent by.
func (st *standing) agentName(id string) string {
	name, _ := st.directory.describe(id, st.now)
	return name
}

// rangeAnswer describes the range of an answer.
func (st *standing) rangeAnswer(u usageRequest, grain calendar.Grain) api.UsageRange {
	out := api.UsageRange{
		Start: st.rng.Start, End: st.rng.End, Timezone: st.zone.String(), Grain: api.Grain(grain),
	}
	if u.asked.preset != "" {
		preset := api.Preset(u.asked.preset)
		out.Preset = &preset
	}
	if u.asked.preset != "" || u.asked.dates {
		from, to := st.rng.From.String(), st.rng.To.String()
		out.From, out.To = &from, &to
	}
	return out
}
