package query

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/pause"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
	schema "agentmeter/schemas/clickhouse"
)

// partLedger marks the ledger's own sums, by outcome.
const partLedger part = 100

// How an inequality is looked at again. A block becomes visible in the ledger a
// moment before it does in the rollups, so that two sums of an interval that is
// still being counted may differ for that moment.
const (
	reconcileLooks = 4
	firstLookAgain = 100 * time.Millisecond // then twice as long each time
	// confirmRows is how many rows the last look may read of a partition while
	// nothing may be counted in it.
	confirmRows = 10_000_000
)

// reconcileSettings bound the memory of a comparison: it goes to disk instead.
var reconcileSettings = map[string]string{
	"max_memory_usage":                   strconv.Itoa(512 << 20),
	"max_bytes_before_external_group_by": strconv.Itoa(160 << 20),
}

// GetReconcile answers GET /v1/usage/reconcile: the range added up from the
// rollups, by the plan that the dashboard's figures are read by, and from the
// ledger; and each rollup compared with the ledger bucket by bucket.
func (s *Service) GetReconcile(w http.ResponseWriter, r *http.Request, _ api.GetReconcileParams) {
	p := readParameters(r)
	u := usageRequest{route: r.Pattern, workspace: p.workspace(), agent: p.agent(), asked: p.asked()}
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, r, func(ctx context.Context) error {
		st, err := s.standingOf(ctx, u)
		if err != nil {
			return err
		}
		answer, err := s.reconciliationAnswer(ctx, u, st)
		if err != nil {
			return err
		}
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

func (s *Service) reconciliationAnswer(ctx context.Context, u usageRequest, st *standing) (*api.Reconciliation, error) {
	grain := calendar.AutoGrain(st.rng.Interval, st.zone)
	q := st.question(u, grain, []time.Time{st.rng.Start, st.rng.End})
	c, err := s.reconcile(ctx, u.route, q)
	if err != nil {
		return nil, err
	}
	answer := c.answer()
	answer.Range = st.rangeAnswer(u, grain)
	answer.Freshness = st.watermark.freshness(q.now)
	answer.Completeness = st.watermark.completeness(q.interval, q.now)
	return &answer, nil
}

// reconciliation holds the sums of a range.
type reconciliation struct {
	rollups  tally
	outcomes map[schemas.Outcome]tally
	tiers    []tierSums
}

// ledger is what the rollups must equal: the outcomes that are counted.
func (c reconciliation) ledger() tally {
	sum := c.outcomes[schemas.OutcomeCounted]
	sum.add(c.outcomes[schemas.OutcomeAdjustment])
	return sum
}

func (c reconciliation) exact() bool {
	return c.ledger() == c.rollups && !slices.ContainsFunc(c.tiers, tierSums.differs)
}

// tierSums is one rollup beside the ledger, in the whole buckets of a range.
type tierSums struct {
	tier           schema.Rollup
	interval       schemas.Interval
	ledger, rollup tally
	// differing counts the buckets (of each agent) that are not equal; those lie
	// in within.
	differing int64
	within    schemas.Interval
}

func (t tierSums) differs() bool { return t.differing > 0 }

// reconcile compares until there is no difference. One that stays is looked at
// once more, partition by partition, while nothing is written there.
func (s *Service) reconcile(ctx context.Context, route string, q question) (reconciliation, error) {
	var c reconciliation
	wait := firstLookAgain
	for look := range reconcileLooks {
		var err error
		if c, err = s.reconciliationOf(ctx, route, q); err != nil {
			return c, err
		}
		if c.tiers, err = s.compareTiers(ctx, route, q, tiersOf(q), scope{}); err != nil || c.exact() {
			return c, err
		}
		if look+1 < reconcileLooks {
			if !pause.For(ctx, wait) {
				return c, context.Cause(ctx)
			}
			wait *= 2
		}
	}
	err := s.confirm(ctx, route, q, &c)
	return c, err
}

// confirm looks at the buckets that differ while nothing is written there. What
// was only under way is no difference: the rollups' sums stand then for both.
func (s *Service) confirm(ctx context.Context, route string, q question, c *reconciliation) error {
	var doubtful []tierSums
	for _, t := range c.tiers {
		if t.differs() {
			t.interval = t.within
			doubtful = append(doubtful, t)
		}
	}
	if len(doubtful) == 0 {
		// The tiers are right in every bucket, and so is what is added up from them.
		c.settle()
		return nil
	}
	partitions, err := s.workspacePartitions(ctx, route, q.workspace)
	if err != nil {
		return err
	}
	confirmed := map[string]tierSums{}
	for _, of := range append(partitions, scope{elsewhere: partitions}) {
		sums, err := s.compareTiers(ctx, route, q, doubtful, of)
		if clickhouse.ExceptionCode(err) == clickhouse.CodeTooManyRows {
			return nil // too much to hold counting up for: it stands as it was found
		}
		if err != nil {
			return err
		}
		for _, t := range sums {
			all := confirmed[t.tier.Table]
			all.differing += t.differing
			all.ledger.add(t.ledger)
			all.rollup.add(t.rollup)
			confirmed[t.tier.Table] = all
		}
	}
	for i := range c.tiers {
		t := &c.tiers[i]
		if !t.differs() {
			continue
		}
		is := confirmed[t.tier.Table]
		t.differing = is.differing
		// What the range's rollup lacks or has too much is what these buckets do.
		t.ledger = t.rollup
		t.ledger.add(is.ledger.minus(is.rollup))
	}
	if !slices.ContainsFunc(c.tiers, tierSums.differs) {
		c.settle()
	}
	return nil
}

// settle makes the ledger's sum the rollups', which are known to be equal.
func (c *reconciliation) settle() {
	counted := c.rollups.minus(c.outcomes[schemas.OutcomeAdjustment])
	c.outcomes[schemas.OutcomeCounted] = counted
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
	b.add(usageByAgent, selection{spans: []span{{partRange, q.edges}}, minutesFrom: q.minutesFrom(), who: whoNone, oneAgent: oneAgent})
	b.params["from"], b.params["to"] = unix(q.interval.Start), unix(q.interval.End)
	sql := render("reconcile", map[string]any{"Branches": b.branches, "LedgerPart": partLedger, "OneAgent": oneAgent})
	return b, sql
}

// tiersOf lists the rollups that hold whole buckets of a question's range.
func tiersOf(q question) []tierSums {
	var list []tierSums
	for _, rollup := range schema.Rollups {
		if q.agent != "" && !rollup.ByAgent {
			continue
		}
		step := time.Duration(rollup.Step)
		from := q.interval.Start
		if rollup.RetentionDays > 0 && from.Before(q.minutesFrom()) {
			from = q.minutesFrom()
		}
		if floor := from.Truncate(step); floor.Before(from) {
			from = floor.Add(step)
		}
		to := q.interval.End.Truncate(step)
		// The tables hold nothing before 1970.
		if epoch := time.Unix(0, 0).UTC(); from.Before(epoch) {
			from = epoch
		}
		if from.Before(to) {
			list = append(list, tierSums{tier: rollup, interval: schemas.Interval{Start: from.UTC(), End: to.UTC()}})
		}
	}
	return list
}

// scope says whose rows a comparison is of: of all, of one partition while
// nothing is written there, or of what lies in none of those listed.
type scope struct {
	here      bool
	stream    uuid.UUID
	partition int32
	elsewhere []scope
}

func tiersStatement(q question, list []tierSums, of scope) (sql string, params map[string]string) {
	params = map[string]string{"workspace": string(q.workspace)}
	if q.agent != "" {
		params["agent"] = q.agent
	}
	type tier struct {
		schema.Rollup
		Number                            int
		Who, LedgerCredits, RollupCredits string
	}
	var shown []tier
	for i, t := range list {
		own := tier{Rollup: t.tier, Number: i, Who: "agent", LedgerCredits: "toInt128(credits)", RollupCredits: "credits"}
		if !t.tier.ByAgent {
			own.Who = "''"
		}
		if !t.tier.Credits {
			own.LedgerCredits, own.RollupCredits = "toInt128(0)", "toInt128(0)"
		}
		shown = append(shown, own)
		params[fmt.Sprintf("from_%d", i)], params[fmt.Sprintf("to_%d", i)] = unix(t.interval.Start), unix(t.interval.End)
	}
	if of.here {
		params["stream"], params["partition"] = of.stream.String(), strconv.Itoa(int(of.partition))
	}
	if of.elsewhere != nil {
		var streams, partitions []string
		for _, p := range of.elsewhere {
			streams, partitions = append(streams, "'"+p.stream.String()+"'"), append(partitions, strconv.Itoa(int(p.partition)))
		}
		params["streams"], params["partitions"] = "["+strings.Join(streams, ",")+"]", "["+strings.Join(partitions, ",")+"]"
	}
	sql = render("reconcile_tiers", map[string]any{
		"Tiers": shown, "OneAgent": q.agent != "", "Here": of.here, "Elsewhere": of.elsewhere != nil,
	})
	return sql, params
}

// compareTiers compares rollups with the ledger in their intervals.
func (s *Service) compareTiers(ctx context.Context, route string, q question, list []tierSums, of scope) ([]tierSums, error) {
	if len(list) == 0 {
		return nil, nil
	}
	sql, params := tiersStatement(q, list, of)
	statement := clickhouse.Statement{SQL: sql, Params: params, Settings: reconcileSettings}
	if of.here {
		statement.Mutex = s.mutex(of.stream, of.partition)
		statement.Place = &clickhouse.Place{Stream: of.stream, Partition: of.partition}
		statement.Settings = map[string]string{"max_rows_to_read": strconv.Itoa(confirmRows)}
	}
	var (
		number                    proto.ColUInt8
		spent, rolledSpent        proto.ColInt128
		answered, recorded        proto.ColInt64
		rolledAnswered, rolledRec proto.ColInt64
		differing                 proto.ColInt64
		first, last               proto.ColUInt32
	)
	sums := slices.Clone(list)
	err := s.readStatement(ctx, route, "reconcile_tiers", statement, proto.Results{
		{Name: "tier", Data: &number},
		{Name: "spent", Data: &spent},
		{Name: "answered", Data: &answered},
		{Name: "recorded", Data: &recorded},
		{Name: "rolled_spent", Data: &rolledSpent},
		{Name: "rolled_answered", Data: &rolledAnswered},
		{Name: "rolled_recorded", Data: &rolledRec},
		{Name: "differing", Data: &differing},
		{Name: "first", Data: &first},
		{Name: "last", Data: &last},
	}, func(rows int) {
		for i := range rows {
			t := &sums[number[i]]
			t.ledger = tally{credits: creditsOf(spent[i]), messages: answered[i], events: recorded[i]}
			t.rollup = tally{credits: creditsOf(rolledSpent[i]), messages: rolledAnswered[i], events: rolledRec[i]}
			t.differing = differing[i]
			t.within = schemas.Interval{
				Start: time.Unix(int64(first[i]), 0).UTC(),
				End:   time.Unix(int64(last[i]), 0).UTC().Add(time.Duration(t.tier.Step)),
			}
		}
	})
	return sums, err
}

// workspacePartitions lists where rows of a workspace can be: its partitions of every
// stream.
func (s *Service) workspacePartitions(ctx context.Context, route string, workspace schemas.WorkspaceID) ([]scope, error) {
	var stream proto.ColUUID
	var partitions proto.ColInt32
	var all []scope
	err := s.read(ctx, route, "streams", render("streams", nil), nil, proto.Results{
		{Name: "stream", Data: &stream},
		{Name: "partitions", Data: &partitions},
	}, func(rows int) {
		for i := range rows {
			for _, partition := range schemas.PartitionsOf(workspace, partitions[i]) {
				all = append(all, scope{here: true, stream: stream[i], partition: partition})
			}
		}
	})
	return all, err
}

func (c reconciliation) answer() api.Reconciliation {
	ledger := c.ledger()
	totals := func(t tally) api.LedgerTotals {
		return api.LedgerTotals{Credits: t.credits.String(), Messages: count(t.messages), Events: count(t.events)}
	}
	events := func(outcome schemas.Outcome) string { return count(c.outcomes[outcome].events) }
	compared := make([]api.TierReconciliation, 0, len(c.tiers))
	for _, t := range c.tiers {
		compared = append(compared, api.TierReconciliation{
			Tier:             api.TierReconciliationTier(strings.TrimPrefix(t.tier.Table, "usage_")),
			Start:            t.interval.Start,
			End:              t.interval.End,
			Exact:            !t.differs(),
			Ledger:           totals(t.ledger),
			Rollup:           totals(t.rollup),
			Difference:       totals(t.ledger.minus(t.rollup)),
			DifferingBuckets: count(t.differing),
		})
	}
	return api.Reconciliation{
		Exact:      c.exact(),
		Ledger:     totals(ledger),
		Rollups:    totals(c.rollups),
		Difference: totals(ledger.minus(c.rollups)),
		Tiers:      compared,
		Outcomes: api.OutcomeCounts{
			Counted:    events(schemas.OutcomeCounted),
			Adjustment: events(schemas.OutcomeAdjustment),
			Playground: events(schemas.OutcomePlayground),
			Duplicate:  events(schemas.OutcomeDuplicate),
			Invalid:    events(schemas.OutcomeInvalid),
		},
	}
}
