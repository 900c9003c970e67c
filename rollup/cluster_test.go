package rollup

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/clickhousetest"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// shardedStack is a stack whose ledger is on two engines, each with the tables of
// one server: what the server of a shard that is written to is, replication
// aside.
type shardedStack struct {
	*stack
	urls   []string
	shards []*clickhouse.Client
}

func newShardedStack(t *testing.T) *shardedStack {
	t.Helper()
	s := &shardedStack{stack: newStack(t)}
	cluster := clickhousetest.Cluster{Name: "meters", Shards: [][]string{{clickhousetest.Elsewhere}, {clickhousetest.Elsewhere}}}
	for _, name := range []string{"1", "2"} {
		alone := clickhouse.Config{URL: clickhousetest.Start(t, name, cluster, clickhousetest.Cluster{Name: "here", Shards: [][]string{{clickhousetest.Here}}})}
		if _, err := clickhouse.Migrate(t.Context(), alone, tables.Migrations, nil); err != nil {
			t.Fatal(err)
		}
		s.urls, s.shards = append(s.urls, alone.URL), append(s.shards, s.open(alone))
	}
	s.connect(s.urls...)
	// What the audit asks over all shards is answered by the first alone here.
	clickhousetest.MakeReads(t, s.urls[0], tables.Cluster{Name: "here", Database: clickhouse.DefaultDatabase})
	return s
}

func (s *shardedStack) open(config clickhouse.Config) *clickhouse.Client {
	s.t.Helper()
	client, err := clickhouse.Open(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// connect makes the stack's client anew, as a process that is started with this
// list of shards.
func (s *shardedStack) connect(shards ...string) {
	s.t.Helper()
	s.client = s.open(clickhouse.Config{URL: s.urls[0], Cluster: "meters", Shards: shards})
}

// count counts events to their end.
func (s *shardedStack) count(events ...schemas.Event) {
	s.t.Helper()
	stop := s.start()
	s.produce(events...)
	s.waitCountedOn(s.shards...)
	stop()
}

// at is the stack as one shard alone knows it.
func (s *shardedStack) at(shard int) *stack {
	own := *s.stack
	own.client = s.shards[shard]
	return &own
}

// sum adds up what the shards answer.
func (s *shardedStack) sum(sql string) (n int64) {
	s.t.Helper()
	for shard := range s.shards {
		n += s.at(shard).number(sql)
	}
	return n
}

func (s *shardedStack) allOutcomes() map[string]uint64 {
	s.t.Helper()
	all := make(map[string]uint64)
	for shard := range s.shards {
		for outcome, n := range s.at(shard).outcomes() {
			all[outcome] += n
		}
	}
	return all
}

func TestEachPartitionIsCountedOnItsOwnShard(t *testing.T) {
	slowtest.Begin(t)
	s := newShardedStack(t)
	events := testEvents(1000)
	var credits schemas.Credits
	for i := range events {
		credits += events[i].Credits
	}
	s.count(events...)
	for shard := range s.shards {
		for _, table := range []string{tables.Ledger, tables.IDs, tables.Progress, tables.Hour.Table} {
			if own, others := s.at(shard).number("SELECT count() FROM "+table), s.at(shard).number(fmt.Sprintf("SELECT countIf(partition %% 2 != %d) FROM %s", shard, table)); own == 0 || others != 0 {
				t.Errorf("shard %d: %s has %d rows, %d of them of the other's partitions", shard+1, table, own, others)
			}
		}
	}
	for _, rollup := range tables.Rollups {
		if !rollup.Credits {
			continue
		}
		if got := s.sum("SELECT sum(credits) FROM " + rollup.Table); got != int64(credits) {
			t.Errorf("%s has %d credits on both shards, want %d", rollup.Table, got, credits)
		}
	}
	for i := range events[:8] {
		partition := schemas.PartitionOf(schemas.RecordKey(events[i].Workspace, events[i].ID), kafka.DefaultPlan().EventPartitions)
		if partition%2 != 0 {
			continue // of the second shard, of which the first tells nothing here
		}
		if found, err := FindEvent(t.Context(), s.client, events[i].Workspace, events[i].ID); err != nil || found == nil || found.Partition != partition {
			t.Errorf("%s is recorded in partition %d, and found is %+v, %v", events[i].ID, partition, found, err)
		}
	}
	if report := s.audit(); !report.Exact || report.Records.Rows != 1000 {
		t.Errorf("the audit finds %+v, %v, in %d rows", report.Findings, report.Unclear, report.Records.Rows)
	}

	// With the shards in another order everything goes on where it was, and what
	// was counted is known.
	s.connect(s.urls[1], s.urls[0])
	s.count(append(events[:300:300], testEvent(5000))...)
	if got, want := s.allOutcomes(), map[string]uint64{"counted": 1001, "duplicate": 300}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}

	for shard := range s.shards {
		s.at(shard).exec("TRUNCATE TABLE usage_day")
		s.at(shard).exec("TRUNCATE TABLE usage_id_places")
	}
	if report := s.audit(); report.Exact {
		t.Error("the audit finds nothing where two tables were emptied")
	}
	s.rebuild(RebuildOptions{})
	for shard := range s.shards {
		s.at(shard).exactlyTheLedger()
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("after a rebuild the audit finds %+v, %v", report.Findings, report.Unclear)
	}
}

// A topic that is cut over to may have its partitions on other shards than the
// one before: what was counted there is known all the same.
func TestAnIDThatAnotherShardRecordedIsKnown(t *testing.T) {
	slowtest.Begin(t)
	s := newShardedStack(t)
	events := testEvents(200)
	s.count(events...)
	s.recreateEvents(4)
	live := s.liveID()
	if err := insertAdopted(t.Context(), s.client, kafka.TopicEvents, adopted{id: live, partitions: 4, starts: make([]int64, 4)}); err != nil {
		t.Fatal(err)
	}
	s.connect(s.urls[1], s.urls[0]) // partitions without rows begin on the other shard
	s.count(events...)
	for shard := range s.shards {
		if n := s.at(shard).number(fmt.Sprintf("SELECT countIf(partition %% 2 = %d) FROM usage_ledger WHERE stream = '%s'", shard, live)); n != 0 {
			t.Errorf("shard %d has %d rows that the other should have", shard+1, n)
		}
	}
	if got, want := s.allOutcomes(), map[string]uint64{"counted": 200, "duplicate": 200}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v, %v", report.Findings, report.Unclear)
	}
}

func TestAPartitionWithALedgerOnTwoShardsStandsStill(t *testing.T) {
	s := newShardedStack(t)
	s.count(testEvents(100)...)
	s.at(0).exec(fmt.Sprintf("INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, outcome) VALUES ('%s', 1, 0, 0, 1, '2026-11-24', 'gap')", s.liveID()))
	s.connect(s.urls...)
	p := &eventPartition{
		ledger:     &ledger{client: s.client, stream: s.liveID(), partition: 1, timeout: DefaultConfig().StatementTimeout},
		partitions: kafka.DefaultPlan().EventPartitions,
	}
	_, err := p.takeOver(t.Context())
	var halt *haltError
	if !errors.As(err, &halt) || !strings.Contains(halt.reason, "has rows on the shards of") {
		t.Errorf("taken over, with %v; want it to halt", err)
	}
}
