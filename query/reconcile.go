package query

import (
	"context"
	"net/http"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// partLedger marks the ledger's own sums, by outcome.
const partLedger part = 100

// reconcileTries is how often an inequality is looked at again. A block becomes
// visible in the ledger a moment before it does in the rollups, so that two
// sums of an interval that is still being counted may differ for that moment.
const reconcileTries = 3

// GetReconcile answers GET /v1/usage/reconcile: the range added up from the
// rollups, by the plan that the dashboard's figures are read by, and from the
// ledger.
func (s *Service) GetReconcile(w http.ResponseWriter, r *http.Request, _ api.GetReconcileParams) {
	p := readParameters(r)
	u := usageRequest{route: r.Pattern, workspace: p.workspace(), agent: p.agent(), asked: p.asked()}
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, r, s.config.QueryTimeout, func(ctx context.Context) error {
		st, err := s.standingOf(ctx, u)
		if err != nil {
			return err
		}
		grain := calendar.AutoGrain(st.rng.Interval, st.zone)
		q := st.question(u, grain, []time.Time{st.rng.Start, st.rng.End})
		var sums reconciliation
		for range reconcileTries {
			if sums, err = s.reconciliationOf(ctx, u.route, q); err != nil {
				return err
			}
			if sums.ledger() == sums.rollups {
				break
			}
		}
		answer := sums.answer()
		answer.Range = st.rangeAnswer(u, grain)
		answer.Freshness = st.watermark.freshness(q.now)
		answer.Completeness = st.watermark.completeness(q.interval, q.now)
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		w.Header().Set("Cache-Control", "private, no-cache")
		httpapi.WriteJSON(w, r, http.StatusOK, answer)
		return nil
	})
}

// reconciliation holds the two sums of a range.
type reconciliation struct {
	rollups  tally
	outcomes map[schemas.Outcome]tally
}

// ledger is what the rollups must equal: the outcomes that are counted.
func (c reconciliation) ledger() tally {
	sum := c.outcomes[schemas.OutcomeCounted]
	sum.add(c.outcomes[schemas.OutcomeAdjustment])
	return sum
}

func (s *Service) reconciliationOf(ctx context.Context, route string, q question) (reconciliation, error) {
	b, sql := reconcileStatement(q)
	c := reconciliation{outcomes: map[schemas.Outcome]tally{}}
	err := s.readRows(ctx, route, "reconcile", b, sql, func(r row) {
		if r.part != partLedger {
			c.rollups.add(r.tally)
			return
		}
		outcome := schemas.Outcome(r.bar)
		sum := c.outcomes[outcome]
		sum.add(r.tally)
		c.outcomes[outcome] = sum
	})
	return c, err
}

func reconcileStatement(q question) (*builder, string) {
	b := newBuilder(q.workspace, q.agent)
	oneAgent := q.agent != ""
	b.add(usageByAgent, []span{{partRange, q.edges}}, q.minutesFrom(), whoNone, oneAgent, false)
	b.params["from"], b.params["to"] = unix(q.interval.Start), unix(q.interval.End)
	sql := render("reconcile", map[string]any{"Branches": b.branches, "LedgerPart": partLedger, "OneAgent": oneAgent})
	return b, sql
}

func (c reconciliation) answer() api.Reconciliation {
	ledger := c.ledger()
	totals := func(t tally) api.LedgerTotals {
		return api.LedgerTotals{Credits: t.credits.String(), Messages: count(t.messages), Events: count(t.events)}
	}
	events := func(outcome schemas.Outcome) string { return count(c.outcomes[outcome].events) }
	return api.Reconciliation{
		Exact:   ledger == c.rollups,
		Ledger:  totals(ledger),
		Rollups: totals(c.rollups),
		Difference: totals(tally{
			credits:  ledger.credits.Minus(c.rollups.credits),
			messages: ledger.messages - c.rollups.messages,
			events:   ledger.events - c.rollups.events,
		}),
		Outcomes: api.OutcomeCounts{
			Counted:    events(schemas.OutcomeCounted),
			Adjustment: events(schemas.OutcomeAdjustment),
			Playground: events(schemas.OutcomePlayground),
			Duplicate:  events(schemas.OutcomeDuplicate),
			Invalid:    events(schemas.OutcomeInvalid),
		},
	}
}
