package audit

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	tables "agentmeter/schemas/clickhouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a ledger on the real engine, written by SQL alone, and a broker that
// has as many records as the ledger has offsets.
type world struct {
	t       testing.TB
	client  *clickhouse.Client
	kafka   kafka.Config
	broker  *kfake.Cluster
	brokers int
	admin   *kadm.Client
	filler  *kgo.Client
	stream  uuid.UUID
	ends    [worldPartitions]int64
}

const worldPartitions = 4

func newWorld(t testing.TB, brokers int) *world {
	t.Helper()
	_, client := schematest.Tables(t)
	w := &world{t: t, client: client}
	w.brokers = brokers
	t.Cleanup(func() { w.closeBroker() })
	w.reset()
	return w
}

func (w *world) closeBroker() {
	if w.broker != nil {
		w.filler.Close()
		w.broker.Close()
	}
}

// reset empties the ledger and starts another broker.
func (w *world) reset() {
	w.t.Helper()
	ctx := w.t.Context()
	w.ends = [worldPartitions]int64{}
	for _, table := range append([]string{tables.Ledger, tables.Streams, tables.IDs}, rollupTables()...) {
		w.exec("TRUNCATE TABLE " + table)
	}
	w.closeBroker()
	broker, err := kfake.NewCluster(kfake.NumBrokers(w.brokers))
	if err != nil {
		w.t.Fatal(err)
	}
	w.broker = broker
	w.kafka = kafka.Config{Brokers: broker.ListenAddrs(), ClientID: "test"}
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	w.filler, err = kgo.NewClient(append(w.kafka.Options(log), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.admin = kadm.NewClient(w.filler)
	if _, err := kafka.EnsureTopics(ctx, w.admin, kafka.DefaultPlan()); err != nil {
		w.t.Fatal(err)
	}
	live, err := kafka.DescribeStream(ctx, w.admin, kafka.TopicEvents)
	if err != nil {
		w.t.Fatal(err)
	}
	w.stream = live.ID
	w.exec(fmt.Sprintf("INSERT INTO usage_streams VALUES ('%s', '%s', %d, [0,0,0,0], now64(3))", w.stream, kafka.TopicEvents, worldPartitions))
}

func rollupTables() []string {
	var names []string
	for _, rollup := range tables.Rollups {
		names = append(names, rollup.Table)
	}
	return names
}

func (w *world) exec(sql string) {
	w.t.Helper()
	if err := w.client.Exec(w.t.Context(), clickhouse.Statement{SQL: sql, Settings: map[string]string{"mutations_sync": "1"}}); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// one reads one text.
func (w *world) one(sql string) string {
	w.t.Helper()
	answer := ""
	if err := w.client.SelectText(w.t.Context(), clickhouse.Statement{SQL: sql}, func(fields []string) error {
		answer = strings.Join(fields, "\t")
		return nil
	}); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// event is a ledger row.
type event struct {
	id, outcome, workspace, agent string
	at                            time.Time
	credits, messages             int64
}

// block appends events to a partition, as a rollup does.
func (w *world) block(partition int, events ...event) {
	w.t.Helper()
	lo := w.ends[partition]
	hi := lo + int64(len(events))
	var values strings.Builder
	for i, e := range events {
		if i > 0 {
			values.WriteByte(',')
		}
		fmt.Fprintf(&values, "('%s',%d,%d,%d,%d,'2026-11-24',now64(3),%s,'%s',%s,%s,'embed',fromUnixTimestamp64Micro(%d,'UTC'),%d,%d)",
			w.stream, partition, lo+int64(i), lo, hi, quote(e.id), e.outcome, quote(e.workspace), quote(e.agent), e.at.UnixMicro(), e.credits, e.messages)
	}
	w.exec("INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, channel, occurred_at, credits, messages) SETTINGS async_insert=0 VALUES " + values.String())
	w.ends[partition] = hi
}

// fill gives the broker as many records as the ledger has offsets, and some
// more.
func (w *world) fill(more int) {
	w.t.Helper()
	var records []*kgo.Record
	for partition, end := range w.ends {
		for range int(end) + more {
			records = append(records, &kgo.Record{Topic: kafka.TopicEvents, Partition: int32(partition), Value: []byte("x")})
		}
	}
	if err := w.filler.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// acknowledge makes the broker say that its log ends where the ledger does,
// without any records.
func (w *world) acknowledge() {
	w.sayLogEnds(func(partition int32) (int64, *kerr.Error) { return w.ends[partition], nil })
}

// sayLogEnds makes the broker say that its log begins at 0 and where it ends, or
// an error of Kafka's of a partition.
func (w *world) sayLogEnds(end func(partition int32) (int64, *kerr.Error)) {
	w.broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		w.broker.KeepControl()
		asked := request.(*kmsg.ListOffsetsRequest)
		answer := asked.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range asked.Topics {
			one := kmsg.NewListOffsetsResponseTopic()
			one.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.Offset = partition.Partition, 0
				at, fault := end(partition.Partition)
				if partition.Timestamp == -1 {
					p.Offset = at
				}
				if fault != nil {
					p.ErrorCode = fault.Code
				}
				one.Partitions = append(one.Partitions, p)
			}
			answer.Topics = append(answer.Topics, one)
		}
		return answer, nil, true
	})
}

func testMutex(stream uuid.UUID, partition int32) string {
	return fmt.Sprintf("test-%s-%d", stream, partition)
}

func (w *world) audit(options Options) *Report {
	w.t.Helper()
	options.Mutex = testMutex
	report, err := Run(w.t.Context(), w.client, w.admin, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// where lists what a report found, as check and table.
func where(report *Report) map[string]bool {
	found := map[string]bool{}
	for _, f := range report.Findings {
		found[f.Check+" "+f.Table] = true
	}
	return found
}

// someDamages are none, and another that the seed draws; or all.
func someDamages(seed int) []string {
	drawn := rand.New(rand.NewPCG(uint64(seed), 0)).Perm(len(damages) - 1)
	some := []string{damages[0]}
	for _, i := range drawn[:slowtest.Number(1, len(drawn))] {
		some = append(some, damages[1+i])
	}
	return some
}

// quote makes a literal of SQL.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
