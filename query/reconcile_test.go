package query

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
	schema "agentmeter/schemas/clickhouse"
)

const reconcileWeek = "/v1/usage/reconcile?workspace=ws_acme&range=7d"

// reconcileWorld has a week's events of two agents, one of which was deleted.
func reconcileWorld(t testing.TB) (*world, *service) {
	t.Helper()
	w := newWorld(t)
	w.fill(t)
	return w, w.serve(t, frozen, DefaultConfig())
}

// fill gives ws_acme every kind of event, and a directory.
func (w *world) fill(t testing.TB) {
	t.Helper()
	var events []event
	for i := range 200 {
		e := event{
			workspace: "ws_acme", agent: fmt.Sprintf("agt_%d", i%2), at: frozen.Add(-time.Duration(i) * 17 * time.Minute),
			credits: schemas.Credits(1_500_000 + i), messages: 1, outcome: counted, channel: "embed",
		}
		switch i % 10 {
		case 3:
			e.outcome, e.channel, e.credits = playground, "playground", 0
		case 5:
			e.outcome, e.credits = adjustment, -e.credits
		}
		events = append(events, e)
	}
	w.insert(t, events)
	w.register(t, agentNamed("ws_acme", "agt_1", "Old", frozen.Add(-100*day)), agentDeleted("ws_acme", "agt_1", frozen.Add(-time.Hour)))
	w.progress(t, frozen)
}

func tierOf(r api.Reconciliation, table string) api.TierReconciliation {
	for _, tier := range r.Tiers {
		if "usage_"+string(tier.Tier) == table {
			return tier
		}
	}
	return api.TierReconciliation{}
}

func TestReconcileSeesOneMillionthInAnyTier(t *testing.T) {
	t.Parallel()
	w, s := reconcileWorld(t)
	if r := ask[api.Reconciliation](t, s, reconcileWeek); !r.Exact || len(r.Tiers) != len(schema.Rollups) || r.Ledger.Events != "180" {
		t.Fatalf("a whole week: %+v", r)
	}
	rollups := schema.Rollups
	if !slowtest.Wanted() { // one of each kind
		rollups = []schema.Rollup{schema.Quarter, schema.WorkspaceHour, schema.Playground}
	}
	for _, rollup := range rollups {
		agent, credits, difference := "agent, ", "1, 0, 0", api.LedgerTotals{Credits: "-0.000001", Messages: "0", Events: "0"}
		if !rollup.ByAgent {
			agent = ""
		}
		columns := "credits, messages, events"
		if !rollup.Credits {
			columns, credits, difference = "messages, events", "2, 0", api.LedgerTotals{Credits: "0", Messages: "-2", Events: "0"}
		}
		change := func(values string) {
			w.exec(t, fmt.Sprintf("INSERT INTO %s (workspace, time, %sstream, partition, %s) SELECT workspace, time, %sstream, partition, %s FROM %s WHERE workspace = 'ws_acme' AND time < fromUnixTimestamp(%d) ORDER BY time DESC LIMIT 1",
				rollup.Table, agent, columns, agent, values, rollup.Table, frozen.Add(-26*time.Hour).Unix()), nil)
		}
		change(credits)
		r := ask[api.Reconciliation](t, s, reconcileWeek)
		for _, tier := range r.Tiers {
			wrong := "usage_"+string(tier.Tier) == rollup.Table
			if tier.Exact == wrong {
				t.Errorf("%s was changed, and %s exact is %v", rollup.Table, tier.Tier, tier.Exact)
			}
			if wrong && (tier.Difference != difference || tier.DifferingBuckets != "1") {
				t.Errorf("%s: difference %+v in %s buckets", rollup.Table, tier.Difference, tier.DifferingBuckets)
			}
		}
		if r.Exact {
			t.Errorf("%s was changed, and all is called exact", rollup.Table)
		}
		change("-" + strings.ReplaceAll(credits, ", ", ", -"))
		if r := ask[api.Reconciliation](t, s, reconcileWeek); !r.Exact {
			t.Errorf("%s was put right again: %+v", rollup.Table, r)
		}
	}
}

// Two differences that make up for one another leave the sums as they were.
func TestReconcileSeesWhatSumsHide(t *testing.T) {
	t.Parallel()
	w, s := reconcileWorld(t)
	for i, shift := range []string{"1", "-1"} {
		w.exec(t, fmt.Sprintf("INSERT INTO usage_hour SELECT workspace, time, agent, stream, partition, %s, 0, 0 FROM usage_hour WHERE workspace = 'ws_acme' AND time < fromUnixTimestamp(%d) ORDER BY time DESC, agent, partition LIMIT 1",
			shift, frozen.Add(-time.Duration(26+5*i)*time.Hour).Unix()), nil)
	}
	r := ask[api.Reconciliation](t, s, reconcileWeek)
	zero := api.LedgerTotals{Credits: "0", Messages: "0", Events: "0"}
	if hour := tierOf(r, "usage_hour"); r.Exact || hour.Exact || hour.DifferingBuckets != "2" || hour.Difference != zero {
		t.Errorf("exact %v, hours %+v", r.Exact, hour)
	}
}

func TestReconcileSeesRowsThatNoPartitionHas(t *testing.T) {
	t.Parallel()
	w, s := reconcileWorld(t)
	w.exec(t, fmt.Sprintf("INSERT INTO usage_quarter VALUES ('ws_acme', toStartOfFifteenMinutes(fromUnixTimestamp(%d)), 'agt_0', generateUUIDv4(), 0, 7000000, 1, 1)", frozen.Add(-26*time.Hour).Unix()), nil)
	r := ask[api.Reconciliation](t, s, reconcileWeek)
	if quarter := tierOf(r, "usage_quarter"); r.Exact || quarter.Difference != (api.LedgerTotals{Credits: "-7", Messages: "-1", Events: "-1"}) {
		t.Errorf("exact %v, quarters %+v", r.Exact, quarter)
	}
	if one := ask[api.Reconciliation](t, s, reconcileWeek+"&agent=agt_1"); !one.Exact || tierOf(one, "usage_workspace_hour").Tier != "" {
		t.Errorf("another agent: %+v", one)
	}
}

// A block is in the ledger before it is in its views. Nobody who asks in between
// is told of a difference.
func TestReconcileNeverSeesWhatIsUnderWay(t *testing.T) {
	slowtest.Begin(t)
	w, s := reconcileWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			var events []event
			for range 50 {
				events = append(events, event{
					workspace: "ws_acme", agent: "agt_0", at: frozen.Add(-time.Duration(i%3) * time.Hour),
					credits: 1_000_000, messages: 1, outcome: counted, channel: "embed",
				})
			}
			w.insert(t, events)
		}
	})
	for range 25 {
		r := ask[api.Reconciliation](t, s, reconcileWeek)
		if !r.Exact || r.Ledger != r.Rollups {
			t.Errorf("a difference while counting: %+v", r)
		}
	}
	stop()
	writing.Wait()
	if r := ask[api.Reconciliation](t, s, reconcileWeek); !r.Exact {
		t.Errorf("afterwards: %+v", r)
	}
}
