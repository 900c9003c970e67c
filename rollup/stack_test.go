package rollup

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// stack is a broker, an engine with the schema, and a producer that knows what
// was acknowledged.
type stack struct {
	t        testing.TB
	kafka    kafka.Config
	url      string // of the engine
	client   *clickhouse.Client
	producer *kgo.Client
	admin    *kadm.Client
	log      *slog.Logger
}

func newStack(t testing.TB, brokerOptions ...kfake.Opt) *stack {
	t.Helper()
	config, client := schematest.Tables(t)
	broker, err := kfake.NewCluster(append(brokerOptions, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s := &stack{t: t, url: config.URL, client: client, log: log, kafka: kafka.Config{Brokers: broker.ListenAddrs(), ClientID: "test"}}
	s.producer, err = kgo.NewClient(s.kafka.ProducerOptions(log)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.producer.Close)
	s.admin = kadm.NewClient(s.producer)
	if _, err := kafka.EnsureTopics(t.Context(), s.admin, kafka.DefaultPlan()); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a rollup until the returned function is called, or the test ends.
func (s *stack) start() (stop func()) {
	s.t.Helper()
	config := DefaultConfig()
	config.BlockLinger = 5 * time.Millisecond
	config.ProgressInterval = 100 * time.Millisecond
	return s.run(config, s.client, prometheus.NewRegistry())
}

// run runs a rollup into the client's tables until the returned function is
// called, or the test ends.
func (s *stack) run(config Config, client *clickhouse.Client, registry *prometheus.Registry) (stop func()) {
	s.t.Helper()
	r, err := New(config, s.kafka, client, s.log, registry)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *stack) produce(events ...schemas.Event) {
	s.t.Helper()
	records := make([]*kgo.Record, len(events))
	for i := range events {
		if faults := events[i].Validate(); faults != nil {
			s.t.Fatal(faults)
		}
		records[i] = &kgo.Record{
			Topic: kafka.TopicEvents,
			Key:   schemas.RecordKey(events[i].Workspace, events[i].ID),
			Value: schemas.EncodeEvent(nil, &events[i]),
		}
	}
	if err := s.producer.ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for something, a minute at most, and says what is missing then.
func (s *stack) until(done func() bool, missing func() string) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	often := time.NewTicker(20 * time.Millisecond) // a loop without pauses kept the engine from what is waited for
	defer often.Stop()
	for ; ; <-often.C {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal(missing())
		}
	}
}

// waitCounted waits until everything acknowledged so far is said to be counted.
func (s *stack) waitCounted() {
	s.t.Helper()
	s.waitCountedOn(s.client)
}

// waitCountedOn does so where partitions are counted on several servers.
func (s *stack) waitCountedOn(servers ...*clickhouse.Client) {
	s.t.Helper()
	acknowledged := time.Now().UnixMilli()
	var partitions uint64
	s.until(func() bool {
		partitions = 0
		for _, server := range servers {
			var counted uint64
			err := server.Conn().QueryRow(s.t.Context(),
				`SELECT count() FROM (SELECT partition, max(counted_through) AS through FROM rollup_progress GROUP BY partition) WHERE toUnixTimestamp64Milli(through) > ?`, acknowledged).Scan(&counted)
			if err != nil {
				s.t.Fatal(err)
			}
			partitions += counted
		}
		return int32(partitions) == kafka.DefaultPlan().EventPartitions
	}, func() string {
		return fmt.Sprintf("only %d partitions were counted through %d", partitions, acknowledged)
	})
}

func (s *stack) outcomes() map[string]uint64 {
	s.t.Helper()
	rows, err := s.client.Conn().Query(s.t.Context(), `SELECT toString(outcome), count() FROM usage_ledger GROUP BY outcome`)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	counts := make(map[string]uint64)
	for rows.Next() {
		var name string
		var n uint64
		if err := rows.Scan(&name, &n); err != nil {
			s.t.Fatal(err)
		}
		counts[name] = n
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return counts
}

// totals reads credits (as text, in millionths) and messages of one rollup.
func (s *stack) totals(table string) (credits string, messages int64) {
	s.t.Helper()
	sql := fmt.Sprintf(`SELECT toString(sum(credits)), sum(messages) FROM %s`, table)
	if err := s.client.Conn().QueryRow(s.t.Context(), sql).Scan(&credits, &messages); err != nil {
		s.t.Fatal(err)
	}
	return credits, messages
}

// each runs a question and gives each row of its answer to row, to be scanned.
func (s *stack) each(sql string, row func(scan func(...any))) {
	s.t.Helper()
	rows, err := s.client.Conn().Query(s.t.Context(), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		row(func(into ...any) {
			if err := rows.Scan(into...); err != nil {
				s.t.Fatal(err)
			}
		})
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
}

// testTime is of yesterday: the engine's clock is the machine's, and what is older
// than usage_minute keeps is gone from it with the first merge.
var testTime = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1).Add(9*time.Hour + 31*time.Minute + 47*time.Second + 123456*time.Microsecond)

func testEvent(i int) schemas.Event {
	return schemas.Event{
		ID:         fmt.Sprintf("event-%d", i),
		Workspace:  schemas.WorkspaceID(fmt.Sprintf("ws_%d", i%3)),
		Agent:      schemas.AgentID(fmt.Sprintf("agt_%d", i%5)),
		OccurredAt: testTime.Add(-time.Duration(i) * 7 * time.Minute),
		Channel:    "embed",
		Credits:    schemas.Credits(1_500_000 + i),
		Messages:   1,
	}
}

func testEvents(n int) []schemas.Event {
	events := make([]schemas.Event, n)
	for i := range events {
		events[i] = testEvent(i)
	}
	return events
}
