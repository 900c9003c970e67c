package rollup

import (
	"bytes"
	"maps"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everyRollup checks that each tier carries exactly these totals.
func everyRollup(s *stack, credits schemas.Credits, messages int64) {
	s.t.Helper()
	for _, rollup := range tables.Rollups {
		if !rollup.Credits {
			continue
		}
		gotCredits, gotMessages := s.totals(rollup.Table)
		if gotCredits != strconv.FormatInt(int64(credits), 10) || gotMessages != messages {
			s.t.Errorf("%s: %s credits and %d messages, want %d and %d", rollup.Table, gotCredits, gotMessages, credits, messages)
		}
	}
}

func TestEachEventIsCountedOnceInEveryRollup(t *testing.T) {
	s := newStack(t)
	stop := s.start()

	events := testEvents(1000)
	var credits schemas.Credits
	for i := range events {
		credits += events[i].Credits
	}
	s.produce(events...)
	playground := testEvent(5000)
	playground.Channel = schemas.ChannelPlayground
	s.produce(playground)
	s.produce(schemas.Event{
		ID: "adj-1", Workspace: "ws_0", Agent: "agt_0", OccurredAt: testTime, Credits: -1_000_000, Messages: -1,
		Adjustment: &schemas.Adjustment{Reason: "refund", EventID: "event-0"},
	})
	s.waitCounted()

	if got, want := s.outcomes(), map[string]uint64{"counted": 1000, "playground": 1, "adjustment": 1}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	everyRollup(s, credits-1_000_000, 999)

	// The same events again, among themselves and after a restart, count no more.
	s.produce(events[:300]...)
	s.waitCounted()
	stop()
	s.start()
	s.produce(events[200:500]...)
	s.produce(playground)
	s.waitCounted()
	if got, want := s.outcomes(), map[string]uint64{"counted": 1000, "playground": 1, "adjustment": 1, "duplicate": 601}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	everyRollup(s, credits-1_000_000, 999)
}

func TestWhatCannotBeCountedIsInTheLedgerAndTheDeadLetters(t *testing.T) {
	s := newStack(t)
	s.start()

	event := testEvent(1)
	s.produce(event)
	changed := event
	changed.Credits++
	s.produce(changed)

	valid := testEvent(2)
	partition := schemas.PartitionOf(schemas.RecordKey(valid.Workspace, valid.ID), 4)
	manual, err := kgo.NewClient(append(s.kafka.Options(s.log), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer manual.Close()
	err = manual.ProduceSync(t.Context(),
		&kgo.Record{Topic: kafka.TopicEvents, Partition: (partition + 1) % 4, Value: schemas.EncodeEvent(nil, &valid)},
		&kgo.Record{Topic: kafka.TopicEvents, Partition: 2, Value: []byte("not a record")},
	).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	s.waitCounted()

	if got, want := s.outcomes(), map[string]uint64{"counted": 1, "invalid": 3}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	everyRollup(s, event.Credits, 1)
	ends, err := s.admin.ListEndOffsets(t.Context(), kafka.TopicDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup(kafka.TopicDeadLetter, 0); end.Offset != 3 {
		t.Errorf("%d dead letters, want 3", end.Offset)
	}
}

// A block of the largest size has more ids than one statement can list.
func TestLargestBlockOfCopiesIsRecognised(t *testing.T) {
	s := newStack(t)
	n := DefaultConfig().MaxBlockRows
	var events []schemas.Event
	for i := 0; len(events) < n; i++ {
		e := testEvent(i)
		e.Workspace, e.OccurredAt = "ws_large", testTime
		if string(schemas.RecordKey(e.Workspace, e.ID)) == "ws_large/0" { // all in one partition
			events = append(events, e)
		}
	}
	s.produce(events...)
	stop := s.start()
	s.waitCounted()
	stop()
	s.produce(events...)
	s.start()
	s.waitCounted()
	if got, want := s.outcomes(), map[string]uint64{"counted": uint64(n), "duplicate": uint64(n)}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

func TestOneBlockIsOnePart(t *testing.T) {
	s := newStack(t)
	// A merge would join what a block was torn into.
	if err := s.client.Conn().Exec(t.Context(), `SYSTEM STOP MERGES usage_ledger`); err != nil {
		t.Fatal(err)
	}
	s.produce(testEvents(3000)...)
	s.start()
	s.waitCounted()
	var blocks, parts uint64
	err := s.client.Conn().QueryRow(t.Context(), `
SELECT uniqExact(partition, block_lo), uniqExact(_part) FROM usage_ledger`).Scan(&blocks, &parts)
	if err != nil {
		t.Fatal(err)
	}
	if parts != blocks || blocks == 0 {
		t.Errorf("%d blocks lie in %d parts", blocks, parts)
	}
}

// What is in a recreated topic is not what the ledger is of: its records would
// be read from the old one's positions.
func TestRecreatedTopicHaltsInsteadOfLosingEvents(t *testing.T) {
	s := newStack(t)
	s.start()
	s.produce(testEvents(40)...)
	s.waitCounted()
	if _, err := s.admin.DeleteTopic(t.Context(), kafka.TopicEvents); err != nil {
		t.Fatal(err)
	}
	if _, err := kafka.EnsureTopics(t.Context(), s.admin, kafka.DefaultPlan()); err != nil {
		t.Fatal(err)
	}
	// More in each partition than was counted of the old topic, so that positions
	// in the one are positions in the other.
	manual, err := kgo.NewClient(append(s.kafka.Options(s.log), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer manual.Close()
	var records []*kgo.Record
	for i := range int32(400) {
		records = append(records, &kgo.Record{Topic: kafka.TopicEvents, Partition: i % 4, Value: []byte("of another stream")})
	}
	if err := manual.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s.waitHalted(4)
	if got, want := s.outcomes(), map[string]uint64{"counted": 40}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if report := s.audit(); report.Exact {
		t.Error("the audit calls it exact, although the live topic is not the ledger's")
	}
}

func TestOversizedGarbageDoesNotHoldUpItsPartition(t *testing.T) {
	s := newStack(t)
	s.start()
	garbage := bytes.Repeat([]byte{0xff}, 999_900)
	manual, err := kgo.NewClient(append(s.kafka.Options(s.log), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer manual.Close()
	for partition := range int32(4) {
		if err := manual.ProduceSync(t.Context(), &kgo.Record{Topic: kafka.TopicEvents, Partition: partition, Key: garbage[:10], Value: garbage}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.produce(testEvents(20)...)
	s.waitCounted()
	if got, want := s.outcomes(), map[string]uint64{"counted": 20, "invalid": 4}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}
