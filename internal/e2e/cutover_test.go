package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
)

// resend goes on sending the workspace's first n events again, whether anybody
// is there to take them or not, until the test ends it, and counts how often
// they were taken.
func (w *traffic) resend(ingest func() string, token string, n int) (taken *atomic.Int64, end func()) {
	taken = new(atomic.Int64)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	ticker := time.NewTicker(50 * time.Millisecond)
	go func() {
		defer close(done)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			if w.post(ingest(), token, 0, n) == nil {
				taken.Add(1)
			}
		}
	}()
	return taken, func() {
		cancel()
		<-done
	}
}

// docs/operations/partitions.md, step by step, under a client that sends what it
// sent before again and again.
func TestPartitionsChangeByACutOver(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace, partitions, before = "ws_cutover", 6, 300
	read, write := s.token(workspace, "usage:read"), s.token(workspace, "events:write")
	w := newTraffic(t, workspace)
	w.send(s.ingestBase, write, before)
	w.counted(s.rollup, s.queryBase, read)
	var ingest atomic.Value
	ingest.Store(s.ingestBase)
	taken, end := w.resend(func() string { return ingest.Load().(string) }, write, before)
	takes := func(when string) {
		t.Helper()
		from := taken.Load()
		s.rollup.waitFor("copies to be taken "+when, countPatience, func() error {
			if taken.Load() == from {
				return errors.New("none")
			}
			return nil
		})
	}
	takes("before")

	// 1. Nobody writes; 2. everything is counted.
	s.ingest.stop()
	s.rollup.waitFor("to have nothing left in Kafka", countPatience, func() error {
		if out := s.must("audit"); !strings.Contains(out, " 0 still in Kafka") {
			return notYetError{out}
		}
		return nil
	})
	// 3. Another topic.
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), kafka.TopicEvents); err != nil {
		t.Fatal(err)
	}
	s.must("migrate", "--event-partitions", fmt.Sprint(partitions))
	// 4. It is adopted.
	code, looked, _ := s.command("adopt-topic")
	_, id, found := strings.Cut(looked, "adopt-topic --id ")
	if code != 1 || !found {
		t.Fatalf("adopt-topic: exit status %d: %s", code, looked)
	}
	s.must("adopt-topic", "--id", strings.TrimSpace(id))
	// 5. and 6. On with both.
	s.rollup.stop()
	s.startRollup()
	s.ingest, s.ingestBase = startStage(t, append([]string{"ingest", "--token-key-file", s.key}, s.toKafka...)...)
	ingest.Store(s.ingestBase)
	takes("after")
	w.send(s.ingestBase, write, 200)
	end()

	w.counted(s.rollup, s.queryBase, read)
	s.rollup.waitFor("to count every copy", countPatience, func() error {
		if out := s.must("audit"); !strings.Contains(out, " 0 still in Kafka") {
			return notYetError{out}
		}
		return nil
	})
	if err := w.isCounted(s.queryBase, read); err != nil {
		t.Error(err)
	}
	if got := sql(t, s.clickhouse, "SELECT partitions FROM usage_streams ORDER BY adopted_at DESC LIMIT 1"); got != fmt.Sprint(partitions) {
		t.Errorf("%s partitions are counted, want %d", got, partitions)
	}
	// Copies did meet their events in another partition.
	moved := sql(t, s.clickhouse, `SELECT count() > 0 FROM usage_ledger AS copy INNER JOIN usage_ledger AS event USING (event_id)
WHERE copy.outcome = 'duplicate' AND event.outcome = 'counted' AND copy.stream != event.stream AND copy.partition != event.partition`)
	if moved != "1" {
		t.Error("no copy was known from another partition")
	}
}
